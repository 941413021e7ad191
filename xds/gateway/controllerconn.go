package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	xdsidentity "github.com/fairwaynet/fairway/xds/identity"
)

// connect opens a connection to a controller: to the attempt-th, in turn.
func (x XDS) connect(ctx context.Context, attempt int) (*grpc.ClientConn, error) {
	network, address := "unix", x.Socket
	secured := insecure.NewCredentials()
	if x.Socket == "" {
		addresses, err := x.resolve(ctx)
		if err != nil {
			return nil, err
		}
		network, address = "tcp", addresses[attempt%len(addresses)]
		if x.TLS != nil {
			config, err := x.TLS.config()
			if err != nil {
				return nil, err
			}
			secured = credentials.NewTLS(config)
		}
	}
	return grpc.NewClient("passthrough:///controller",
		grpc.WithTransportCredentials(secured),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}),
		grpc.WithDisableServiceConfig(),
		// A controller that disappears without closing the connection is noticed in 15 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	)
}

// resolve is the addresses of all controllers, in a stable order. A name has an address
// for each. So a controller that turns us away is tried again only after the others.
func (x XDS) resolve(ctx context.Context) ([]string, error) {
	var all []string
	var wrong error
	for _, address := range x.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		wrong = errors.Join(wrong, err)
		slices.Sort(found)
		for _, ip := range found {
			all = append(all, net.JoinHostPort(ip, port))
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errors.New("no address"), wrong)
	}
	return all, nil
}

// config is mutual TLS with the present content of the files.
func (t *TLS) config() (*tls.Config, error) {
	var files xdsidentity.Files
	for path, content := range map[string]*[]byte{
		t.CA: &files.CA, t.Certificate: &files.Certificate, t.Key: (*[]byte)(&files.Key),
	} {
		var err error
		if *content, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	pair, roots, err := files.Pair()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: t.ServerName, RootCAs: roots, Certificates: []tls.Certificate{pair},
	}, nil
}
