package envoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// lookalikes match header names that read as one of the gateway's own headers if
// a backend takes an underscore for a hyphen. Each has an underscore. (There are
// several expressions because Envoy limits the size of one.)
var lookalikes = []string{
	"x[-_]forwarded_(for|host|proto|port)|x_forwarded-(for|host|proto|port)",
	"x[-_]forwarded[-_]client_cert|x[-_]forwarded_client-cert|x_forwarded-client-cert",
	"x[-_]real_ip|x_real-ip|x[-_]request_id|x_request-id",
	"x[-_](envoy|fairway)_.*|x_(envoy|fairway)-.*",
}

// underscore decides about headers with an underscore in their name, which many
// backends cannot tell from a hyphen. If the settings keep such headers, Envoy
// still removes those that look like the gateway's own.
func underscore(m *managerv3.HttpConnectionManager, s route.Settings) {
	options := m.GetCommonHttpProtocolOptions()
	switch s.UnderscoresInHeaders {
	case route.UnderscoresReject:
		options.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_REJECT_REQUEST
	case route.UnderscoresKeep:
		options.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_ALLOW
		remove := &earlyv3.HeaderMutation{}
		for _, names := range lookalikes {
			remove.Mutations = append(remove.Mutations, removeMatching(names))
		}
		m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, earlyMutation(remove))
	default:
		options.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_DROP_HEADER
	}
}

func removeMatching(names string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: &typematcherv3.StringMatcher{
			MatchPattern: &typematcherv3.StringMatcher_SafeRegex{SafeRegex: &typematcherv3.RegexMatcher{Regex: names}},
		}},
	}}
}
