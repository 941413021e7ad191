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

// unixScheme is the prefix of a Unix socket's address.
const unixScheme = "unix:"

// xdsSettings say where Envoys connect, and which certificates they need.
type xdsSettings struct {
	Address  string // host:port or unix:path
	Cert     string // path of the server's certificate chain, PEM
	Key      string // path of its private key, PEM
	ClientCA string // path of the CA certificates for Envoys, PEM
	// Identity is the source of the certificates: managed means that the leader
	// makes them in Secrets; the alternative is files.
	Identity string
	// Lifetime is the lifetime of the certificates that the leader makes.
	Lifetime time.Duration
	// Age is the maximum age of a connection.
	Age time.Duration
}

// The values of xdsSettings.Identity.
const (
	identityManaged = "managed"
	identityFiles   = "files"
)

// newXDSSettings returns the defaults.
func newXDSSettings() xdsSettings {
	return xdsSettings{Address: "127.0.0.1:18000", Identity: identityFiles, Lifetime: 30 * 24 * time.Hour, Age: 30 * time.Minute}
}

func (x *xdsSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar(&x.Address, "xds-address", x.Address, "`host:port` or unix:path on which to serve Envoys")
	flags.StringVar(&x.Cert, "xds-cert", x.Cert, "PEM `file` of the certificate shown to Envoys; read again at each connection")
	flags.StringVar(&x.Key, "xds-key", x.Key, "PEM `file` of its key")
	flags.StringVar(&x.ClientCA, "xds-client-ca", x.ClientCA, "PEM `file` of the authorities that must have signed Envoys' certificates")
	flags.StringVar(&x.Identity, "xds-identity", x.Identity, "managed: the leader makes and renews the certificates of controllers and gateways, in Secrets of --namespace; files: the certificates are in --xds-cert, --xds-key and --xds-client-ca")
	flags.DurationVar(&x.Lifetime, "xds-certificate-lifetime", x.Lifetime, "how long a managed certificate is valid; the leader renews it after two thirds of that, and the authority is valid twelve times as long")
	flags.DurationVar(&x.Age, "xds-connection-age", x.Age, "about how long an Envoy stays connected before it must reconnect, to any controller")
}

// validate refuses settings that would hand configuration and private keys to any
// client on the network.
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

// isLocal reports whether only this machine can reach the address.
func isLocal(address string) (bool, error) {
	if path, ok := strings.CutPrefix(address, unixScheme); ok {
		if path == "" {
			return false, errors.New("unix: needs the path of a socket")
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

// listen binds the address. It replaces the socket of a process that has ended.
// Only the current user can use the new socket.
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
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	return os.Remove(path)
}

// Limits for connections of all clients. An Envoy needs one stream on one
// connection.
const (
	maxConnections        = 10_000
	maxConnectionsOfOne   = 128 // address: all Envoys of a node may share one
	maxStreams            = 4   // per connection
	maxRequestHeaderBytes = 16 << 10
)

// serveXDS serves Envoys until ctx ends. A connection lasts about age (0:
// forever), give or take a little. So Envoys spread over controllers that start
// later, and no Envoy stays connected with an expired certificate.
func serveXDS(ctx context.Context, listener net.Listener, creds credentials.TransportCredentials, age time.Duration, ads *server.Server) error {
	s := grpc.NewServer(append(server.GRPCOptions(),
		grpc.Creds(creds),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxRequestHeaderBytes),
		// An Envoy that reconnects lists the name and version of all its
		// resources, one message per type: 100,000 resources are some 20 MiB.
		// gRPC's default limit of 4 MiB would lock such an Envoy out for good.
		// Only clients with a valid certificate can send messages.
		grpc.MaxRecvMsgSize(64<<20),
		grpc.ConnectionTimeout(5*time.Second),
		// The server notices within 40 s that an Envoy has vanished without
		// closing its connection.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second,
			MaxConnectionAge: age, MaxConnectionAgeGrace: time.Second,
		}),
		// Envoy sends a keepalive ping every 3 s.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)...)
	return ads.Serve(ctx, s, server.LimitListener(listener, maxConnections, maxConnectionsOfOne))
}

// authorize allows a stream only the gateway of its certificate. Without TLS only
// processes on this machine can connect, and they may ask for any gateway.
func authorize(ctx context.Context, gateway route.Gateway) error {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return errors.New("the peer is unknown")
	}
	secured, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	if len(secured.State.VerifiedChains) == 0 {
		return errors.New("the peer has no verified certificate")
	}
	owner, err := identity.GatewayOf(secured.State.PeerCertificates[0])
	if err == nil && owner != gateway {
		err = fmt.Errorf("the certificate is for gateway %q, not %q", owner, gateway)
	}
	return err
}

// credentials are mutual TLS from the files, or none without files.
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

// keys reads the files at each handshake, so that a renewed certificate takes
// effect with the next one. Envoys connect rarely.
type keys struct {
	from xdsSettings
	log  logr.Logger

	mu   sync.Mutex
	good *tls.Config
}

// current is the configuration from the files. While the files are being replaced
// or are broken, it is the last good one.
func (k *keys) current() (*tls.Config, error) {
	config, err := k.from.read()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.good = config
	} else if k.good != nil {
		k.log.Error(err, "cannot read the certificate for xDS; keeping the last good one")
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
