package envoy

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// How Envoy treats endpoints that do not answer (docs/adr/0016).
const (
	// mostEjected is the highest percentage of endpoints that Envoy may eject. It
	// never ejects the last one.
	mostEjected = 90
	// leastHealthy is the lowest percentage of endpoints that must be left. With
	// fewer, Envoy uses all of them, because the fault is then more likely on
	// Envoy's side of the network.
	leastHealthy = 30
	// unreachable is the percentage of attempts that must fail. If a connection
	// breaks after it was made, Envoy counts one success and one failure for the
	// request: half.
	unreachable = 75
	// ejectionJitter keeps the endpoints of a node from returning all at once.
	ejectionJitter = 2 * time.Second

	// silence is how long an endpoint may acknowledge no data, or accept none of
	// the data that is waiting for it, before Envoy closes the connection.
	silence = 30 * time.Second
)

// connectTimeout limits one connection attempt of the cluster.
func connectTimeout(c route.Cluster, s route.Settings) time.Duration {
	if s.ConnectTimeout == 0 {
		return c.ConnectTimeout()
	}
	return max(s.ConnectTimeout, time.Millisecond)
}

// outlierDetection ejects endpoints to which hardly any connection could be made
// for a while. Responses do not count, nor do broken connections: otherwise an
// attacker who finds a request at which a backend hangs up could eject all of its
// endpoints.
func outlierDetection(connect time.Duration, o route.OutlierDetection) *clusterv3.OutlierDetection {
	none := wrapperspb.UInt32(0)
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors: true,
		// An attempt that begins when an endpoint returns must fail before the
		// next check. Otherwise Envoy forgets the earlier ejection and never
		// ejects the endpoint for longer.
		Interval:              duration(max(2*min(connect, time.Minute), time.Second)),
		BaseEjectionTime:      duration(max(o.BaseEjectionTime, time.Second)),
		MaxEjectionTime:       duration(max(o.MaxEjectionTime, o.BaseEjectionTime, time.Second)),
		MaxEjectionTimeJitter: duration(ejectionJitter),
		MaxEjectionPercent:    wrapperspb.UInt32(mostEjected),

		FailurePercentageThreshold:            wrapperspb.UInt32(unreachable),
		FailurePercentageMinimumHosts:         wrapperspb.UInt32(1),
		FailurePercentageRequestVolume:        wrapperspb.UInt32(1),
		EnforcingFailurePercentageLocalOrigin: wrapperspb.UInt32(100),

		Consecutive_5Xx:               none,
		ConsecutiveGatewayFailure:     none,
		ConsecutiveLocalOriginFailure: none,
		SuccessRateMinimumHosts:       wrapperspb.UInt32(math.MaxUint32),
	}
}

// tcpKeepalive detects an endpoint that disappears while a request waits for its
// answer.
func tcpKeepalive() *corev3.TcpKeepalive {
	return &corev3.TcpKeepalive{
		KeepaliveTime:     wrapperspb.UInt32(10),
		KeepaliveInterval: wrapperspb.UInt32(5),
		KeepaliveProbes:   wrapperspb.UInt32(4),
	}
}

// tcpUserTimeout detects an endpoint that disappears before it has acknowledged a
// request. TCP sends no keepalive while data is unacknowledged (RFC 5482,
// tcp(7)).
func tcpUserTimeout() *corev3.SocketOption {
	const ipprotoTCP, userTimeout = 6, 18 // Linux's numbers
	return &corev3.SocketOption{
		Description: "TCP_USER_TIMEOUT",
		Level:       ipprotoTCP,
		Name:        userTimeout,
		Value:       &corev3.SocketOption_IntValue{IntValue: silence.Milliseconds()},
		State:       corev3.SocketOption_STATE_PREBIND,
	}
}
