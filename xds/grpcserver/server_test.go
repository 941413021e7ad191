package grpcserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
	adsserver "github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

func TestTheUnixSocketIsOursAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xds")
	address := grpcserver.UnixScheme + path
	first, err := grpcserver.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := file.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %o, want 600", mode)
	}
	// A process that was killed leaves its socket behind.
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := grpcserver.Listen(t.Context(), address)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	second.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := grpcserver.Listen(t.Context(), address); err == nil {
		t.Error("a file that is no socket is replaced")
	}
}

// The server answers only Envoys with a certificate of the right authority. A
// renewed certificate takes effect with the next connection.
func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newSigner(t), newSigner(t)
	cert, key, clientCA := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")
	load := func() (*tls.Config, error) {
		var files identity.Files
		var err1, err2, err3 error
		files.Certificate, err1 = os.ReadFile(cert)
		files.Key, err2 = os.ReadFile(key)
		files.CA, err3 = os.ReadFile(clientCA)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		return identity.ServerConfig(files)
	}
	write := func(ca signer) {
		id := ca.identity(t)
		for path, content := range map[string][]byte{cert: id.Certificate, key: id.Key, clientCA: ca.PEM()} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(ours)
	ads := adsserver.New(adsserver.Options{Log: logr.Discard()})
	ads.Open()
	files := &grpcserver.LastGood{Load: load, Log: logr.Discard()}
	address := serveWith(t, grpcserver.MutualTLS(files.Config), ads)

	if err := call(t, address, credentials.NewTLS(ours.client(t))); status.Code(err) != codes.Unimplemented {
		t.Errorf("with our certificate: %v, want an answer", err)
	}
	anonymous := ours.client(t)
	anonymous.Certificates = nil
	if err := call(t, address, credentials.NewTLS(anonymous)); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v, want a refusal", err)
	}
	stranger := theirs.client(t)
	stranger.RootCAs = ours.client(t).RootCAs
	if err := call(t, address, credentials.NewTLS(stranger)); status.Code(err) != codes.Unavailable {
		t.Errorf("with a stranger's certificate: %v, want a refusal", err)
	}
	if err := call(t, address, insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
		t.Errorf("in plain text: %v, want a refusal", err)
	}

	write(theirs)
	if err := call(t, address, credentials.NewTLS(theirs.client(t))); status.Code(err) != codes.Unimplemented {
		t.Errorf("after a renewal: %v, want an answer", err)
	}
	if err := call(t, address, credentials.NewTLS(ours.client(t))); status.Code(err) != codes.Unavailable {
		t.Errorf("with the old certificate after a renewal: %v, want a refusal", err)
	}
	if err := os.WriteFile(cert, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := call(t, address, credentials.NewTLS(theirs.client(t))); status.Code(err) != codes.Unimplemented {
		t.Errorf("with a broken file the last good one stays: %v", err)
	}
}

// serveWith serves Envoys of ads on this machine until the test ends.
func serveWith(t *testing.T, creds credentials.TransportCredentials, ads *adsserver.Server) string {
	t.Helper()
	listener, err := grpcserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- grpcserver.Serve(ctx, listener, creds, time.Hour, ads) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// controllersOf are the credentials of controllers with a certificate of the authority.
func controllersOf(t *testing.T, ours identity.Authorities, now time.Time) credentials.TransportCredentials {
	t.Helper()
	files, _, err := identity.Policy{}.Renew(identity.Files{}, identity.Controllers("", "fairway-system"), ours, now)
	if err != nil {
		t.Fatal(err)
	}
	config, err := identity.ServerConfig(files)
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewTLS(config)
}

// call calls a method that does not exist: Unimplemented means that the server
// has answered.
func call(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return conn.Invoke(ctx, "/none/None", &emptypb.Empty{}, &emptypb.Empty{})
}

// A client gets the configuration of the gateway in its certificate, and no
// other.
func TestStrangersGetNoConfiguration(t *testing.T) {
	now := time.Now()
	ours, blue := authorityAndGateway(t, "blue", now)
	_, stranger := authorityAndGateway(t, "blue", now)
	stranger.RootCAs = blue.RootCAs
	green := clientOf(t, identity.Gateway("green"), ours, now)
	server := clientOf(t, identity.Controllers("", "fairway-system"), ours, now)
	expired := clientOf(t, identity.Gateway("blue"), ours, now.Add(-31*24*time.Hour))
	anonymous := blue.Clone()
	anonymous.Certificates = nil

	ads := adsserver.New(adsserver.Options{Log: logr.Discard(), Authorize: grpcserver.Authorize})
	for _, gateway := range []route.Gateway{"blue", "green"} {
		ads.PublishSettings(gateway, route.DefaultSettings())
	}
	ads.Open()
	address := serveWith(t, controllersOf(t, ours, now), ads)

	for _, test := range []struct {
		name    string
		client  *tls.Config
		gateway string
		code    codes.Code
	}{
		{"its own", blue, "blue", codes.OK},
		{"another's", blue, "green", codes.PermissionDenied},
		{"one that does not exist", blue, "red", codes.PermissionDenied},
		{"none", blue, "", codes.PermissionDenied},
		{"the other way round", green, "blue", codes.PermissionDenied},
		{"the other's own", green, "green", codes.OK},
		{"with a certificate of another authority", stranger, "blue", codes.Unavailable},
		{"with a controller's certificate", server, "blue", codes.Unavailable},
		{"with a certificate that has expired", expired, "blue", codes.Unavailable},
		{"without a certificate", anonymous, "blue", codes.Unavailable},
		{"in plain text", nil, "blue", codes.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := listeners(t, address, test.client, test.gateway); status.Code(err) != test.code {
				t.Errorf("asked for a gateway's listeners: %v, want %s", err, test.code)
			}
		})
	}
}

// authorityAndGateway returns an authority, and the TLS configuration of a
// gateway's Envoy that trusts it.
func authorityAndGateway(t *testing.T, name route.Gateway, now time.Time) (identity.Authorities, *tls.Config) {
	t.Helper()
	by, _, err := identity.Policy{}.Succeed(identity.Files{}, identity.Files{}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return by, clientOf(t, identity.Gateway(name), by, now)
}

func clientOf(t *testing.T, subject identity.Subject, by identity.Authorities, at time.Time) *tls.Config {
	t.Helper()
	files, err := identity.Policy{}.Issue(subject, by, at)
	if err != nil {
		t.Fatal(err)
	}
	pair, roots, err := files.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: identity.ServerName,
	}
}

// listeners is nil if the server sends the listeners of a gateway.
func listeners(t *testing.T, address string, config *tls.Config, gateway string) error {
	t.Helper()
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return simulated.Ask(ctx, conn, gateway)
}

// An open stream of an Envoy does not keep the process from ending.
func TestStreamsEndWithTheServer(t *testing.T) {
	listener, err := grpcserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ads := adsserver.New(adsserver.Options{Log: logr.Discard()}) // not open, so streams wait
	go func() { ended <- grpcserver.Serve(ctx, listener, insecure.NewCredentials(), time.Hour, ads) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a stream keeps the server from ending")
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v, want Unavailable", err)
	}
}

// signer is a test's authority that fails the test if it cannot sign.
type signer struct{ *authority.Authority }

func newSigner(t *testing.T) signer {
	t.Helper()
	a, err := authority.New("authority", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return signer{a}
}

// identity is a certificate for 127.0.0.1 and for clients.
func (s signer) identity(t *testing.T) authority.Identity {
	t.Helper()
	id, err := s.Issue(pkix.Name{CommonName: "leaf"}, nil, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// client is the TLS configuration of a client with a certificate of the
// authority.
func (s signer) client(t *testing.T) *tls.Config {
	t.Helper()
	id := s.identity(t)
	pair, err := tls.X509KeyPair(id.Certificate, id.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots}
}
