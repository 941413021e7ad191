package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/identity"
)

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
	local, err := grpcserver.IsLocal(x.Address)
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

// credentials are mutual TLS from the files, or none without files.
func (x *xdsSettings) credentials(log logr.Logger) (credentials.TransportCredentials, error) {
	if x.Cert == "" {
		return insecure.NewCredentials(), nil
	}
	files := &grpcserver.LastGood{Load: x.read, Log: log}
	if _, err := files.Config(); err != nil {
		return nil, fmt.Errorf("serve xDS: %w", err)
	}
	return grpcserver.MutualTLS(files.Config), nil
}

// read makes the configuration from the files. Its errors name their flags.
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

// policy is that of managed certificates.
func (x *xdsSettings) policy() identity.Policy {
	return identity.Policy{Certificate: x.Lifetime, Authority: 12 * x.Lifetime}
}
