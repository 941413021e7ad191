package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

const (
	// xdsCluster is the name of the static cluster of the servers.
	xdsCluster = "fairway-xds"

	certificateFile = "xds-certificate.json"
	authorityFile   = "xds-ca.json"
)

// cluster is the static cluster of the xDS servers. A server that refuses, resets or
// answers with an error is ejected for a while, so that the next attempt goes to another.
// A server that disappears without closing the connection is noticed in 5 s, by the pings
// of HTTP/2.
func (x XDS) cluster(dir string) (*clusterv3.Cluster, error) {
	endpoints, named, err := x.endpoints()
	if err != nil {
		return nil, fmt.Errorf("xDS server: %w", err)
	}
	cluster := &clusterv3.Cluster{
		Name:                 xdsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		TransportSocket:      x.transportSocket(dir),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(http2Only()),
		},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{
			TcpKeepalive: &corev3.TcpKeepalive{
				KeepaliveTime:     wrapperspb.UInt32(10),
				KeepaliveInterval: wrapperspb.UInt32(5),
				KeepaliveProbes:   wrapperspb.UInt32(3),
			},
		},
		OutlierDetection: ejectOnFirstFailure(),
		// If all of them are ejected, all are tried.
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 1}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: xdsCluster,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: endpoints}},
		},
	}
	if named {
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: dnsCluster()}
	}
	return cluster, nil
}

// dnsCluster makes an endpoint of every address of a name, in both families. It finds a
// controller soon that starts when there was none.
func dnsCluster() *clusterv3.Cluster_CustomClusterType {
	return &clusterv3.Cluster_CustomClusterType{Name: "envoy.cluster.dns", TypedConfig: typed(&dnsv3.DnsCluster{
		DnsLookupFamily: commondnsv3.DnsLookupFamily_ALL,
		DnsRefreshRate:  durationpb.New(5 * time.Second),
		DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{
			BaseInterval: durationpb.New(time.Second), MaxInterval: durationpb.New(2 * time.Second),
		},
	})}
}

// ejectOnFirstFailure ejects a server at its first failure. The stream is the only
// request: a second failure would be a second attempt.
func ejectOnFirstFailure() *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx:          wrapperspb.UInt32(1),
		EnforcingConsecutive_5Xx: wrapperspb.UInt32(100),
		EnforcingSuccessRate:     wrapperspb.UInt32(0),
		Interval:                 durationpb.New(time.Second),
		BaseEjectionTime:         durationpb.New(5 * time.Second),
		MaxEjectionTime:          durationpb.New(15 * time.Second),
		MaxEjectionPercent:       wrapperspb.UInt32(100),
	}
}

// endpoints are the addresses of the servers, and whether names are among them.
func (x XDS) endpoints() (all []*endpointv3.LbEndpoint, named bool, err error) {
	endpoint := func(at *corev3.Address) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at}},
		}
	}
	if x.Socket != "" {
		if len(x.Socket) > maxSocketPath {
			return nil, false, fmt.Errorf("socket %s: the path has more than the %d bytes that a socket may have", x.Socket, maxSocketPath)
		}
		return []*endpointv3.LbEndpoint{endpoint(pipe(x.Socket, 0))}, false, nil
	}
	if len(x.Addresses) == 0 {
		return nil, false, errors.New("no address")
	}
	for _, address := range x.Addresses {
		at, isIP, err := parseAddress(address)
		if err != nil {
			return nil, false, err
		}
		named = named || !isIP
		all = append(all, endpoint(at))
	}
	return all, named, nil
}

func parseAddress(address string) (at *corev3.Address, isIP bool, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, false, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || host == "" {
		return nil, false, fmt.Errorf("%q is no host:port", address)
	}
	_, noIP := netip.ParseAddr(host)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}, noIP == nil, nil
}

func http2Only() *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						ConnectionKeepalive: &corev3.KeepaliveSettings{
							Interval: durationpb.New(3 * time.Second),
							Timeout:  durationpb.New(2 * time.Second),
						},
					},
				},
			},
		},
	}
}

// transportSocket is mutual TLS 1.3 whose files come through SDS: only then Envoy reads
// them again when they are rotated.
func (x XDS) transportSocket(dir string) *corev3.TransportSocket {
	if x.Socket != "" || x.TLS == nil {
		return nil
	}
	secret := func(name, file string) *tlsv3.SdsSecretConfig {
		return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
			ResourceApiVersion: corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
				PathConfigSource: &corev3.PathConfigSource{Path: filepath.Join(dir, file)},
			},
		}}
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(&tlsv3.UpstreamTlsContext{
			Sni: x.TLS.ServerName,
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
				AlpnProtocols:                  []string{"h2"},
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secret("xds-certificate", certificateFile)},
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
					ValidationContextSdsSecretConfig: secret("xds-ca", authorityFile),
				},
			},
		})},
	}
}

// secrets are the contents of the two files that SDS reads.
func (t TLS) secrets() (certificate, authority proto.Message) {
	file := func(path string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
	}
	folder := func(path string) *corev3.WatchedDirectory {
		return &corev3.WatchedDirectory{Path: filepath.Dir(path)}
	}
	response := func(secret *tlsv3.Secret) proto.Message {
		return &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{typed(secret)}}
	}
	certificate = response(&tlsv3.Secret{Name: "xds-certificate", Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: file(t.Certificate), PrivateKey: file(t.Key), WatchedDirectory: folder(t.Certificate),
		},
	}})
	authority = response(&tlsv3.Secret{Name: "xds-ca", Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: file(t.CA), WatchedDirectory: folder(t.CA),
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_DNS,
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: t.ServerName}},
			}},
		},
	}})
	return certificate, authority
}
