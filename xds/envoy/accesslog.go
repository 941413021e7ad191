package envoy

import (
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// metadataNamespace is the namespace of the route metadata that holds the reason
// for an answer.
const metadataNamespace = "fairway"

// accessLog writes one line of JSON per request to Envoy's standard output. The
// line holds no secrets: no query, no cookies and no credentials.
func accessLog(s route.Settings) []*logv3.AccessLog {
	if !s.AccessLog {
		return nil
	}
	return logLine(accessLogFields(s))
}

// passthroughLog writes one line per passed-through connection. Its host is the
// server name (SNI), because Envoy does not see the requests.
func passthroughLog(s route.Settings) []*logv3.AccessLog {
	if !s.AccessLog {
		return nil
	}
	fields := accessLogFields(s)
	if _, logged := fields.Fields[string(route.LogHost)]; logged {
		fields.Fields[string(route.LogHost)] = structpb.NewStringValue("%REQUESTED_SERVER_NAME%")
	}
	return logLine(fields)
}

func logLine(fields *structpb.Struct) []*logv3.AccessLog {
	return []*logv3.AccessLog{{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &logv3.AccessLog_TypedConfig{TypedConfig: typed(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields},
			}},
		})},
	}}
}

// maxLoggedHeader limits a logged header value, in bytes.
const maxLoggedHeader = 1024

func accessLogFields(s route.Settings) *structpb.Struct {
	fields := s.AccessLogFields
	if len(fields) == 0 {
		fields = route.LogFields()
	}
	out := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields)+2)}
	for _, field := range fields {
		if field == route.LogUpstreamReceived {
			out.Fields[string(field)] = received()
		} else if format := logFormat(field); format != "" {
			out.Fields[string(field)] = structpb.NewStringValue(format)
		}
	}
	addLoggedHeaders(out, "request_headers", "REQ", s.AccessLogRequestHeaders)
	addLoggedHeaders(out, "response_headers", "RESP", s.AccessLogResponseHeaders)
	return out
}

// addLoggedHeaders puts headers into an object of their own, so that a header
// cannot be mistaken for a field.
func addLoggedHeaders(out *structpb.Struct, name, operator string, headers []string) {
	if len(headers) == 0 {
		return
	}
	fields := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(headers))}
	for _, header := range headers {
		fields.Fields[header] = structpb.NewStringValue(fmt.Sprintf("%%%s(%s):%d%%", operator, header, maxLoggedHeader))
	}
	out.Fields[name] = structpb.NewStructValue(fields)
}

// received is the number of bytes that an endpoint has sent. Envoy reports every
// response that it cannot parse as a protocol error; the byte counts show how far
// the response got (docs/http.md).
func received() *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"bytes":         structpb.NewStringValue("%UPSTREAM_WIRE_BYTES_RECEIVED%"),
		"header_bytes":  structpb.NewStringValue("%UPSTREAM_HEADER_BYTES_RECEIVED%"),
		"decoded_bytes": structpb.NewStringValue("%UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%"),
	}})
}

// logFormat is Envoy's format string for a field, empty for an unknown field. It
// truncates values that clients choose, so that a request of 60 KiB does not
// write 60 KiB of log.
func logFormat(field route.LogField) string {
	return map[route.LogField]string{
		route.LogTime:            "%START_TIME%",
		route.LogMethod:          "%REQ(:METHOD):32%",
		route.LogHost:            "%REQ(:AUTHORITY):300%",
		route.LogPath:            "%PATH(NQ):2048%",
		route.LogProtocol:        "%PROTOCOL%",
		route.LogStatus:          "%RESPONSE_CODE%",
		route.LogFlags:           "%RESPONSE_FLAGS%",
		route.LogDetails:         "%RESPONSE_CODE_DETAILS%",
		route.LogReason:          "%METADATA(ROUTE:" + metadataNamespace + ":reason)%",
		route.LogIngress:         "%ROUTE_NAME%",
		route.LogDuration:        "%DURATION%",
		route.LogUpstream:        "%UPSTREAM_HOST%",
		route.LogUpstreamCluster: "%UPSTREAM_CLUSTER_RAW%",
		route.LogUpstreamTime:    "%RESPONSE_DURATION%",
		route.LogUpstreamFailure: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		route.LogBytesReceived:   "%BYTES_RECEIVED%",
		route.LogBytesSent:       "%BYTES_SENT%",
		route.LogRequestID:       "%REQ(X-REQUEST-ID):128%",
		route.LogClient:          "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		route.LogUserAgent:       "%REQ(USER-AGENT):512%",
	}[field]
}
