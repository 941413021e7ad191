package gateway

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

const (
	// acmeCluster leads to the responders of TLS-ALPN-01; listeners name it.
	acmeCluster = "fairway-acme"
	// acmeConnections bounds the connections to them, which any client can cause.
	acmeConnections = 64
	// acmeScheme begins the path of a Unix socket in Bootstrap.ACME.
	acmeScheme = "unix:"
)

// acme is the cluster of the responders of TLS-ALPN-01. Nothing waits for it: an Envoy that
// cannot resolve their name serves all the same. A responder that takes no connections is
// ejected for a while.
func (b Bootstrap) acme() (*clusterv3.Cluster, error) {
	to := XDS{Addresses: b.ACME}
	if path, ok := strings.CutPrefix(b.ACME[0], acmeScheme); ok && len(b.ACME) == 1 {
		to = XDS{Socket: path}
	}
	endpoints, named, err := to.endpoints()
	if err != nil {
		return nil, fmt.Errorf("responder of challenges: %w", err)
	}
	dead := ejectOnFirstFailure()
	dead.ConsecutiveLocalOriginFailure = wrapperspb.UInt32(1)
	dead.EnforcingConsecutiveLocalOriginFailure = wrapperspb.UInt32(100)
	dead.SplitExternalLocalOriginErrors = true
	cluster := &clusterv3.Cluster{
		Name:                 acmeCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		WaitForWarmOnInit:    wrapperspb.Bool(false),
		OutlierDetection:     dead,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(acmeConnections),
			MaxPendingRequests: wrapperspb.UInt32(acmeConnections),
		}}},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(16 << 10),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: acmeCluster,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: endpoints}},
		},
	}
	if named {
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: dnsCluster()}
	}
	return cluster, nil
}
