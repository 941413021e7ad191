package main

import (
	"context"
	"crypto/tls"
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
	"google.golang.org/grpc/peer"

	"github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
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
	// Identity is where certificates come from: managed, by the leader in
	// Secrets, or files.
	Identity string
	// Lifetime is how long the certificates live that the leader makes.
	Lifetime time.Duration
	// Age is how long a connection lasts.
	Age time.Duration
}

// What xdsSettings.Identity can be.
const (
	identityManaged = "managed"
	identityFiles   = "files"
)

// newXDSSettings has the defaults.
func newXDSSettings() xdsSettings {
	return xdsSettings{Address: "127.0.0.1:18000", Identity: identityFiles, Lifetime: 30 * 24 * time.Hour, Age: 30 * time.Minute}
}

func (x *xdsSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar(&x.Address, "xds-address", x.Address, "`host:port` or unix:path on which Envoys are served")
	flags.StringVar(&x.Cert, "xds-cert", x.Cert, "PEM `file` of the certificate shown to Envoys; read again at each connection")
	flags.StringVar(&x.Key, "xds-key", x.Key, "PEM `file` of its key")
	flags.StringVar(&x.ClientCA, "xds-client-ca", x.ClientCA, "PEM `file` of the authorities that Envoys' certificates must be from")
	flags.StringVar(&x.Identity, "xds-identity", x.Identity, "managed: the leader makes and renews the certificates of controllers and gateways, in Secrets of --namespace; files: they are in --xds-cert, --xds-key and --xds-client-ca")
	flags.DurationVar(&x.Lifetime, "xds-certificate-lifetime", x.Lifetime, "how long a managed certificate is valid; it is renewed after two thirds of that, and the authority lives twelve times as long")
	flags.DurationVar(&x.Age, "xds-connection-age", x.Age, "about how long an Envoy stays connected until it has to connect again, to any controller")
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
	case x.Identity != identityManaged && x.Identity != identityFiles:
		return usage(fmt.Errorf("--xds-identity: %q is neither %s nor %s", x.Identity, identityManaged, identityFiles))
	case x.Lifetime < time.Minute:
		return usage(errors.New("--xds-certificate-lifetime: must be a minute or more"))
	case x.Age < time.Second:
		return usage(errors.New("--xds-connection-age: must be a second or more"))
	case x.Identity == identityManaged && given != 0:
		return usage(errors.New("--xds-identity=managed makes the certificates: give no --xds-cert, --xds-key and --xds-client-ca"))
	case x.Identity == identityManaged:
		return nil
	case given != 0 && given != 3:
		return usage(errors.New("--xds-cert, --xds-key and --xds-client-ca go together: give all three or none"))
	case given == 0 && !local:
		return usage(fmt.Errorf("--xds-address: %s can be reached from other machines: give --xds-identity=managed, or --xds-cert, --xds-key and --xds-client-ca, "+
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

// Bounds on those who connect, whoever they are. An Envoy needs one stream on
// one connection.
const (
	maxConnections        = 10_000
	maxConnectionsOfOne   = 128 // address: all Envoys of a node may have the same
	maxStreams            = 4   // of a connection
	maxRequestHeaderBytes = 16 << 10
)

// serveXDS serves Envoys until ctx ends. A connection lasts a little more or
// less than age (0: forever), so that Envoys spread over controllers that came later, and so
// that nobody stays with a certificate that has expired.
func serveXDS(ctx context.Context, listener net.Listener, creds credentials.TransportCredentials, age time.Duration, ads *server.Server) error {
	s := grpc.NewServer(append(server.GRPCOptions(),
		grpc.Creds(creds),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxRequestHeaderBytes),
		// When an Envoy reconnects, it lists name and version of all that it
		// has, a type a message: 100,000 resources are some 20 MiB. The 4 MiB
		// that gRPC allows by default would lock it out for good. Only who has a
		// certificate comes so far.
		grpc.MaxRecvMsgSize(64<<20),
		grpc.ConnectionTimeout(5*time.Second),
		// An Envoy that vanished without a word is noticed within 40 s.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second,
			MaxConnectionAge: age, MaxConnectionAgeGrace: time.Second,
		}),
		// Envoy asks every 3 s whether we are still there.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)...)
	return ads.Serve(ctx, s, server.LimitListener(listener, maxConnections, maxConnectionsOfOne))
}

// authorize lets a stream have the gateway of its certificate and no other.
// Without TLS only this machine can connect, and who can may have any.
func authorize(ctx context.Context, gateway route.Gateway) error {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return errors.New("nobody knows who this is")
	}
	secured, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	if len(secured.State.VerifiedChains) == 0 {
		return errors.New("there is no verified certificate")
	}
	owner, err := identity.GatewayOf(secured.State.PeerCertificates[0])
	if err == nil && owner != gateway {
		err = fmt.Errorf("the certificate is of gateway %q, not %q", owner, gateway)
	}
	return err
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
	var files identity.Files
	for _, part := range []struct {
		flag, path string
		to         *[]byte
	}{
		{"--xds-cert", x.Cert, &files.Certificate},
		{"--xds-key", x.Key, (*[]byte)(&files.Key)},
		{"--xds-client-ca", x.ClientCA, &files.CA},
	} {
		content, err := os.ReadFile(part.path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", part.flag, err)
		}
		*part.to = content
	}
	config, err := identity.ServerConfig(files)
	if err != nil {
		return nil, fmt.Errorf("read --xds-cert, --xds-key and --xds-client-ca: %w", err)
	}
	return config, nil
}
