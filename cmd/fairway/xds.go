package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/fairwaynet/fairway/xds/server"
)

// unixScheme begins the address of a unix socket.
const unixScheme = "unix:"

// xdsSettings is where Envoys are served and who may be one.
type xdsSettings struct {
	Address  string // host:port or unix:path
	Cert     string // path of our certificate chain, PEM
	Key      string // path of its key, PEM
	ClientCA string // path of the authorities of Envoys' certificates, PEM
}

func (x *xdsSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar(&x.Address, "xds-address", x.Address, "`host:port` or unix:path on which Envoys are served")
	flags.StringVar(&x.Cert, "xds-cert", x.Cert, "PEM `file` of the certificate shown to Envoys; read again at each connection")
	flags.StringVar(&x.Key, "xds-key", x.Key, "PEM `file` of its key")
	flags.StringVar(&x.ClientCA, "xds-client-ca", x.ClientCA, "PEM `file` of the authorities that Envoys' certificates must be from")
}

// validate refuses to hand configuration, and later private keys, to whoever
// asks over a network.
func (x *xdsSettings) validate() error {
	given := 0
	for _, file := range []string{x.Cert, x.Key, x.ClientCA} {
		if file != "" {
			given++
		}
	}
	local, err := isLocal(x.Address)
	switch {
	case err != nil:
		return usage(fmt.Errorf("--xds-address: %w", err))
	case given != 0 && given != 3:
		return usage(errors.New("--xds-cert, --xds-key and --xds-client-ca go together: give all three or none"))
	case given == 0 && !local:
		return usage(fmt.Errorf("--xds-address: %s can be reached from other machines: give --xds-cert, --xds-key and --xds-client-ca, "+
			"or serve on a loopback address or a unix socket", x.Address))
	}
	return nil
}

// isLocal says whether only this machine can reach the address.
func isLocal(address string) (bool, error) {
	if path, ok := strings.CutPrefix(address, unixScheme); ok {
		if path == "" {
			return false, errors.New("unix: wants the path of a socket")
		}
		return true, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("%q is neither host:port nor unix:path", address)
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback(), nil
}

// listen takes the address. The socket of a process that is gone is replaced,
// and a socket of ours is for us alone.
func (x *xdsSettings) listen(ctx context.Context) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(x.Address, unixScheme)
	if !isUnix {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", x.Address)
		if err != nil {
			return nil, fmt.Errorf("serve xDS: %w", err)
		}
		return listener, nil
	}
	if err := removeSocket(path); err != nil {
		return nil, fmt.Errorf("serve xDS: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("serve xDS: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("serve xDS: %w", err), listener.Close())
	}
	return listener, nil
}

func removeSocket(path string) error {
	switch file, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case file.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and no socket", path)
	}
	return os.Remove(path)
}

// serveXDS serves Envoys until ctx ends.
func serveXDS(ctx context.Context, listener net.Listener, creds credentials.TransportCredentials, ads *server.Server) error {
	s := grpc.NewServer(
		grpc.Creds(creds),
		// An Envoy needs one stream on one connection.
		grpc.MaxConcurrentStreams(16),
		// When an Envoy reconnects, it lists name and version of all that it
		// has, a type a message: 100,000 resources are some 20 MiB. The 4 MiB
		// that gRPC allows by default would lock it out for good.
		grpc.MaxRecvMsgSize(64<<20),
		grpc.ConnectionTimeout(10*time.Second),
		// An Envoy that vanished without a word is noticed within 40 s.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	ads.Register(s)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		ads.Close() // streams do not end by themselves
		s.GracefulStop()
	})
	err := s.Serve(listener)
	if !stop() {
		<-ended
		return nil
	}
	return fmt.Errorf("serve xDS: %w", err)
}

// credentials are mutual TLS from the files, or none where there are none.
func (x *xdsSettings) credentials(log logr.Logger) (credentials.TransportCredentials, error) {
	if x.Cert == "" {
		return insecure.NewCredentials(), nil
	}
	k := &keys{from: *x, log: log}
	if _, err := k.current(); err != nil {
		return nil, fmt.Errorf("serve xDS: %w", err)
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.current() },
	}), nil
}

// keys reads the files at each handshake, so that a renewed certificate counts
// from then on. Envoys connect rarely.
type keys struct {
	from xdsSettings
	log  logr.Logger

	mu   sync.Mutex
	good *tls.Config
}

// current is what the files say or, while they are being replaced or broken,
// what they said before.
func (k *keys) current() (*tls.Config, error) {
	config, err := k.from.read()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.good = config
	} else if k.good != nil {
		k.log.Error(err, "cannot read the certificate for xDS; the last good one stays")
		return k.good, nil
	}
	return config, err
}

func (x *xdsSettings) read() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(x.Cert, x.Key)
	if err != nil {
		return nil, fmt.Errorf("read --xds-cert and --xds-key: %w", err)
	}
	pem, err := os.ReadFile(x.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read --xds-client-ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read --xds-client-ca: no certificate in %s", x.ClientCA)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authorities,
		NextProtos:   []string{"h2"},
	}, nil
}
