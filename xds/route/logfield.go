package route

// LogField names a field of the access log, by the name that it has there. Package
// xds/envoy has the format of each: users choose names, never formats.
type LogField string

// The fields of the access log (docs/gateways.md).
const (
	LogTime            LogField = "time" // when the request began
	LogMethod          LogField = "method"
	LogHost            LogField = "host"
	LogPath            LogField = "path" // without query
	LogProtocol        LogField = "protocol"
	LogStatus          LogField = "status"
	LogFlags           LogField = "flags"   // Envoy's response flags
	LogDetails         LogField = "details" // Envoy's words on the status
	LogReason          LogField = "reason"  // of Fairway's own answer
	LogIngress         LogField = "ingress"
	LogDuration        LogField = "duration" // milliseconds
	LogUpstream        LogField = "upstream" // the endpoint
	LogUpstreamCluster LogField = "upstream_cluster"
	LogUpstreamTime    LogField = "upstream_time" // milliseconds until the endpoint began to answer
	LogUpstreamFailure LogField = "upstream_failure"
	// LogUpstreamReceived is how much of a response came, as an object of numbers of
	// bytes. It tells apart the faults of a response.
	LogUpstreamReceived LogField = "upstream_received"
	LogBytesReceived    LogField = "bytes_received"
	LogBytesSent        LogField = "bytes_sent"
	LogRequestID        LogField = "request_id"
	LogClient           LogField = "client" // address
	LogUserAgent        LogField = "user_agent"
)

// LogFields are all of them.
func LogFields() []LogField {
	return []LogField{
		LogTime, LogMethod, LogHost, LogPath, LogProtocol, LogStatus, LogFlags, LogDetails, LogReason, LogIngress,
		LogDuration, LogUpstream, LogUpstreamCluster, LogUpstreamTime, LogUpstreamFailure, LogUpstreamReceived,
		LogBytesReceived, LogBytesSent, LogRequestID, LogClient, LogUserAgent,
	}
}

// isSecret reports whether a header, with its name in lower case, carries credentials,
// which are never logged.
func isSecret(header string) bool {
	switch header {
	case "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "cookie", "set-cookie",
		"x-api-key", "x-auth-token", "x-csrf-token", "x-amz-security-token", "x-forwarded-access-token",
		"x-forwarded-client-cert":
		return true
	}
	return false
}
