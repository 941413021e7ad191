package envoy

import (
	"cmp"
	"net/http"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Texts for clients. Clients are strangers, so the texts hold no internal names.
const (
	noSuchHost  = "No site is served under this name.\n"
	noSuchPath  = "Nothing is served at this path.\n"
	unavailable = "What is served at this path is not available.\n"
)

// directResponse answers without a backend, as text/plain. If body is empty, it
// sends a sentence for the status.
func directResponse(status int, body string) *routev3.Route_DirectResponse {
	if status < 200 || status > 599 {
		status = http.StatusServiceUnavailable
	}
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: uint32(status),
		Body:   text(cmp.Or(strings.ToValidUTF8(body, "%"), sentence(status))),
	}}
}

func sentence(status int) string {
	switch status {
	case http.StatusNotFound:
		return noSuchPath
	case http.StatusServiceUnavailable:
		return unavailable
	default:
		return http.StatusText(status) + "\n"
	}
}

// localReplies replace the texts of Envoy's own answers: Envoy says nothing if a
// host has no routes, and too much if a backend fails.
func localReplies() *managerv3.LocalReplyConfig {
	return &managerv3.LocalReplyConfig{Mappers: []*managerv3.ResponseMapper{
		badTarget(),
		toPath(),
		replyTo(noSuchHost, "NR"),
		replyTo(unavailable, "UH", "UF", "UC", "UO", "UR", "LR", "URX", "UPE", "NC"),
		localBackend(),
	}}
}

// replyTo sets the body of answers with one of these response flags.
func replyTo(body string, flags ...string) *managerv3.ResponseMapper {
	return &managerv3.ResponseMapper{
		Filter: &logv3.AccessLogFilter{FilterSpecifier: &logv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &logv3.ResponseFlagFilter{Flags: flags},
		}},
		Body: text(body),
	}
}

// badTarget answers 400 to illegal targets, as Envoy's parser does over HTTP/1.1.
// It covers requests that were refused, and those that would first be redirected
// to another path.
func badTarget() *managerv3.ResponseMapper {
	return &managerv3.ResponseMapper{
		Filter: allOfThem(
			anyOfThem(statusIs(http.StatusForbidden), statusIs(http.StatusTemporaryRedirect)),
			requestHas(illegalTarget()),
		),
		StatusCode: wrapperspb.UInt32(http.StatusBadRequest),
		Body:       text(sentence(http.StatusBadRequest)),
	}
}

// requestHas holds for answers to requests whose header matches.
func requestHas(header *routev3.HeaderMatcher) *logv3.AccessLogFilter {
	return &logv3.AccessLogFilter{FilterSpecifier: &logv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &logv3.HeaderFilter{Header: header},
	}}
}

// statusIs holds for answers with this status.
func statusIs(code uint32) *logv3.AccessLogFilter {
	return &logv3.AccessLogFilter{FilterSpecifier: &logv3.AccessLogFilter_StatusCodeFilter{StatusCodeFilter: &logv3.StatusCodeFilter{
		Comparison: &logv3.ComparisonFilter{
			Op:    logv3.ComparisonFilter_EQ,
			Value: &corev3.RuntimeUInt32{DefaultValue: code, RuntimeKey: "fairway.none"},
		},
	}}}
}

func allOfThem(filters ...*logv3.AccessLogFilter) *logv3.AccessLogFilter {
	return &logv3.AccessLogFilter{FilterSpecifier: &logv3.AccessLogFilter_AndFilter{AndFilter: &logv3.AndFilter{Filters: filters}}}
}

func anyOfThem(filters ...*logv3.AccessLogFilter) *logv3.AccessLogFilter {
	return &logv3.AccessLogFilter{FilterSpecifier: &logv3.AccessLogFilter_OrFilter{OrFilter: &logv3.OrFilter{Filters: filters}}}
}

func text(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}
