package envoy

import (
	"fmt"
	"net/http"

	"google.golang.org/protobuf/types/known/wrapperspb"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// refuseLocal are the filters of a cluster whose endpoints Envoy resolves by DNS.
// They refuse connections to local addresses. They check the address to which the
// request is about to be sent, so it does not matter what the name resolved to
// before.
func refuseLocal() []*managerv3.HttpFilter {
	return []*managerv3.HttpFilter{
		filter("envoy.filters.http.upstream_rbac", localRefused()),
		filter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{}),
	}
}

func localRefused() *rbacv3.RBAC {
	var local []*rbacconfigv3.Permission
	for _, prefix := range route.LocalPrefixes() {
		local = append(local, &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_Matcher{
			Matcher: &corev3.TypedExtensionConfig{
				Name: "envoy.rbac.matchers.upstream_ip_port",
				TypedConfig: typed(&upstreamipv3.UpstreamIpPortMatcher{UpstreamIp: &corev3.CidrRange{
					AddressPrefix: prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(prefix.Bits())),
				}}),
			},
		}})
	}
	return &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{
		Action:   rbacconfigv3.RBAC_DENY,
		Policies: map[string]*rbacconfigv3.Policy{string(route.ReasonBackendNotAllowed): refuse(local...)},
	}}
}

// localBackend answers such a request like one whose backend is known to be local
// before it is resolved. The expression runs only for 403 answers, of which there
// are few.
func localBackend() *managerv3.ResponseMapper {
	return &managerv3.ResponseMapper{
		Filter: allOfThem(
			statusIs(http.StatusForbidden),
			&logv3.AccessLogFilter{FilterSpecifier: &logv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &logv3.ExtensionFilter{
				Name: "envoy.access_loggers.extension_filters.cel",
				ConfigType: &logv3.ExtensionFilter_TypedConfig{TypedConfig: typed(&celv3.ExpressionFilter{
					Expression: fmt.Sprintf("response.code_details == 'rbac_access_denied_matched_policy[%s]'", route.ReasonBackendNotAllowed),
				})},
			}}},
		),
		StatusCode: wrapperspb.UInt32(http.StatusServiceUnavailable),
		Body:       text(unavailable),
	}
}
