package grpcserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
)

// MutualTLS are credentials that ask for the configuration at each handshake, so that
// a renewed certificate takes effect with the next one. Envoys connect rarely.
func MutualTLS(config func() (*tls.Config, error)) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return config() },
	})
}

// LastGood is a configuration from files that may be replaced at any time.
type LastGood struct {
	Load func() (*tls.Config, error)
	Log  logr.Logger

	mu   sync.Mutex
	good *tls.Config
}

// Config loads the configuration. While that fails, because the files are being
// replaced or are broken, it returns the last good one.
func (l *LastGood) Config() (*tls.Config, error) {
	config, err := l.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.good = config
	} else if l.good != nil {
		l.Log.Error(err, "cannot read the certificate for xDS; keeping the last good one")
		return l.good, nil
	}
	return config, err
}

// Authorize allows a stream only the gateway of its certificate. Without TLS only
// processes on this machine can connect, and they may ask for any gateway.
func Authorize(ctx context.Context, gateway route.Gateway) error {
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
