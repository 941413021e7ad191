package envoy

import (
	"google.golang.org/protobuf/types/known/structpb"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// metadataNamespace is where routes say why they answer as they do.
const metadataNamespace = "fairway"

// accessLog is one line of JSON per request on Envoy's standard output. The
// query of a path, cookies and credentials are secrets and not in it.
func accessLog(s route.Settings) []*logv3.AccessLog {
	if !s.AccessLog {
		return nil
	}
	return []*logv3.AccessLog{{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &logv3.AccessLog_TypedConfig{TypedConfig: typed(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: accessLogFields()},
			}},
		})},
	}}
}

func accessLogFields() *structpb.Struct {
	fields := map[string]string{
		"time":             "%START_TIME%",
		"method":           "%REQ(:METHOD)%",
		"host":             "%REQ(:AUTHORITY)%",
		"path":             "%PATH(NQ)%",
		"protocol":         "%PROTOCOL%",
		"status":           "%RESPONSE_CODE%",
		"flags":            "%RESPONSE_FLAGS%",
		"details":          "%RESPONSE_CODE_DETAILS%",
		"reason":           "%METADATA(ROUTE:" + metadataNamespace + ":reason)%",
		"ingress":          "%ROUTE_NAME%",
		"duration":         "%DURATION%",
		"upstream":         "%UPSTREAM_HOST%",
		"upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
		"upstream_time":    "%RESPONSE_DURATION%",
		"upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		"bytes_received":   "%BYTES_RECEIVED%",
		"bytes_sent":       "%BYTES_SENT%",
		"request_id":       "%REQ(X-REQUEST-ID)%",
		"client":           "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"user_agent":       "%REQ(USER-AGENT)%",
	}
	out := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields))}
	for name, format := range fields {
		out.Fields[name] = structpb.NewStringValue(format)
	}
	return out
}
