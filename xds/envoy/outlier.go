package envoy

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// What becomes of endpoints that do not answer (docs/adr/0016).
const (
	// mostEjected is how many endpoints in a hundred may be set aside; the last one
	// never is.
	mostEjected = 90
	// leastHealthy is how many in a hundred have to be left: with fewer all are
	// used, because it is more likely that this end cannot reach them.
	leastHealthy = 30
	// unreachable is how many attempts in a hundred have to fail. A request whose
	// connection breaks after it was made counts as one that did and one that did
	// not: half.
	unreachable = 75
	// ejectionJitter keeps endpoints of a node from coming back all at once.
	ejectionJitter = 2 * time.Second

	// silence is how long an endpoint may acknowledge nothing, or take nothing of
	// what waits for it, until its connection is given up.
	silence = 30 * time.Second
)

// connectTimeout is how long a connection attempt of the cluster may take.
func connectTimeout(c route.Cluster, s route.Settings) time.Duration {
	if s.ConnectTimeout == 0 {
		return c.ConnectTimeout()
	}
	return max(s.ConnectTimeout, time.Millisecond)
}

// outlierDetection sets aside endpoints to which, for a while, hardly any
// connection could be made. What they answer does not count, nor do connections
// that break: a stranger who finds a request at which a backend hangs up would have
// all of its endpoints set aside.
func outlierDetection(connect time.Duration, o route.OutlierDetection) *clusterv3.OutlierDetection {
	none := wrapperspb.UInt32(0)
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors: true,
		// An attempt that begins when an endpoint has come back has failed before
		// the next look: else Envoy forgets that it has set it aside before, and
		// never does so for longer.
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

// tcpKeepalive finds out about an endpoint that is gone while a request waits for
// its answer.
func tcpKeepalive() *corev3.TcpKeepalive {
	return &corev3.TcpKeepalive{
		KeepaliveTime:     wrapperspb.UInt32(10),
		KeepaliveInterval: wrapperspb.UInt32(5),
		KeepaliveProbes:   wrapperspb.UInt32(4),
	}
}

// tcpUserTimeout finds out about one that is gone before it has acknowledged a
// request: there is no keepalive while something is under way (RFC 5482, tcp(7)).
func tcpUserTimeout() *corev3.SocketOption {
	const ipprotoTCP, userTimeout = 6, 18 // as Linux numbers them
	return &corev3.SocketOption{
		Description: "TCP_USER_TIMEOUT",
		Level:       ipprotoTCP,
		Name:        userTimeout,
		Value:       &corev3.SocketOption_IntValue{IntValue: silence.Milliseconds()},
		State:       corev3.SocketOption_STATE_PREBIND,
	}
}
