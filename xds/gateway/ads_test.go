package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/test/freeport"
)

// ads is the least that an xDS server can be: it answers every first request
// with one listener, which answers every request itself. The real server lies
// behind the wire, which is all that this package knows of it.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	listener *listenerv3.Listener
	// nodes are those that connected, peers the names in their certificates.
	nodes chan *corev3.Node
	peers chan string
}

// serveADS serves on a listener until the test ends.
func serveADS(t *testing.T, on net.Listener, config *tls.Config) *ads {
	t.Helper()
	s := &ads{listener: hello(t), nodes: make(chan *corev3.Node, 100), peers: make(chan string, 100)}
	secured := insecure.NewCredentials()
	if config != nil {
		secured = credentials.NewTLS(config)
	}
	server := grpc.NewServer(grpc.Creds(secured))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(on) }()
	t.Cleanup(func() {
		server.Stop()
		// A test may end before the server has begun.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return s
}

func (s *ads) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	if from, ok := peer.FromContext(stream.Context()); ok {
		if secured, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			s.peers <- secured.State.PeerCertificates[0].Subject.CommonName
		}
	}
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if request.Node != nil {
			s.nodes <- request.Node
		}
		if request.ResponseNonce != "" {
			continue
		}
		response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: request.TypeUrl, Nonce: request.TypeUrl}
		if request.TypeUrl == "type.googleapis.com/envoy.config.listener.v3.Listener" {
			response.Resources = []*discoveryv3.Resource{{Name: s.listener.Name, Version: "1", Resource: typed(s.listener)}}
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (s *ads) url() string {
	at := s.listener.Address.GetSocketAddress()
	return "http://" + (&net.TCPAddr{IP: net.ParseIP(at.Address), Port: int(at.GetPortValue())}).String() + "/"
}

// hello is a listener on a free port that says hello.
func hello(t *testing.T) *listenerv3.Listener {
	t.Helper()
	manager := &managerv3.HttpConnectionManager{
		StatPrefix: "http",
		RouteSpecifier: &managerv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{{
				Name: "hello", Domains: []string{"*"},
				Routes: []*routev3.Route{{
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
						Status: 200,
						Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "hello"}},
					}},
				}},
			}},
		}},
		HttpFilters: []*managerv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &managerv3.HttpFilter_TypedConfig{TypedConfig: typed(&routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{
		Name: "http",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address:       "127.0.0.1",
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(freeport.Get(t))},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(manager)},
		}}}},
	}
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.certificate, a.key, _ = a.issue(t, "ca")
	a.pool.AddCert(a.certificate)
	return a
}

// issue makes a certificate for a name; the first one signs itself.
func (a *authority) issue(t *testing.T, name string) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a.certificate == nil, BasicConstraintsValid: true,
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key, der
}

// pair is a certificate for Go's own TLS.
func (a *authority) pair(t *testing.T, name string) tls.Certificate {
	t.Helper()
	_, key, der := a.issue(t, name)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// write writes ca.crt and a new tls.crt and tls.key as files are rotated:
// each is complete when it gets its name.
func (a *authority) write(t *testing.T, dir, name string) {
	t.Helper()
	_, key, der := a.issue(t, name)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"ca.crt":  {Type: "CERTIFICATE", Bytes: a.certificate.Raw},
		"tls.crt": {Type: "CERTIFICATE", Bytes: der},
		"tls.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}
