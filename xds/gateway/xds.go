package gateway

import (
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
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

const (
	// xdsCluster is the name of the only static cluster.
	xdsCluster = "fairway-xds"

	certificateFile = "xds-certificate.json"
	authorityFile   = "xds-ca.json"
)

// cluster is the way to the xDS server. A server that is gone without a word
// is noticed in 15 s, by HTTP/2's own pings.
func (x XDS) cluster(dir string) (*clusterv3.Cluster, error) {
	address, kind, err := x.address()
	if err != nil {
		return nil, fmt.Errorf("xDS server: %w", err)
	}
	return &clusterv3.Cluster{
		Name:                 xdsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: kind},
		ConnectTimeout:       durationpb.New(2 * time.Second),
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
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: xdsCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
				}},
			}},
		},
	}, nil
}

// address says where the server is and how its address is found.
func (x XDS) address() (*corev3.Address, clusterv3.Cluster_DiscoveryType, error) {
	if x.Socket != "" {
		if len(x.Socket) > maxSocketPath {
			return nil, 0, fmt.Errorf("socket %s: the path has more than the %d bytes that a socket may have", x.Socket, maxSocketPath)
		}
		return pipe(x.Socket, 0), clusterv3.Cluster_STATIC, nil
	}
	host, text, err := net.SplitHostPort(x.Address)
	if err != nil {
		return nil, 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || host == "" {
		return nil, 0, fmt.Errorf("%q is no host:port", x.Address)
	}
	kind := clusterv3.Cluster_STRICT_DNS
	if _, err := netip.ParseAddr(host); err == nil {
		kind = clusterv3.Cluster_STATIC
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}, kind, nil
}

func http2Only() *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						ConnectionKeepalive: &corev3.KeepaliveSettings{
							Interval: durationpb.New(10 * time.Second),
							Timeout:  durationpb.New(5 * time.Second),
						},
					},
				},
			},
		},
	}
}

// transportSocket is mutual TLS 1.3 whose files come through SDS: only so does
// Envoy read them again when they are rotated.
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
