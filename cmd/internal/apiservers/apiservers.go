// Package apiservers reaches an API server by one of several addresses, as a process must
// that makes Services work and so cannot use one.
//
// It changes where connections go, not whom they trust: the server's certificate is still
// verified for the name or address of the configuration.
package apiservers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

// patience is how long one address may take to accept a connection.
const patience = 3 * time.Second

// alive finds out within about ten seconds that a server has gone without a word.
var alive = net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3}

// Parse reads an address: HOST, HOST:PORT or https://HOST:PORT.
func Parse(text string) (string, error) {
	address := text
	if strings.Contains(text, "://") {
		parsed, err := url.Parse(text)
		if err != nil || parsed.Scheme != "https" || parsed.Host == "" || strings.Trim(parsed.Path, "/") != "" {
			return "", fmt.Errorf("%q is no https://HOST:PORT", text)
		}
		address = parsed.Host
	}
	if host, port, err := net.SplitHostPort(address); err == nil && host != "" && port != "" {
		return address, nil
	}
	host := strings.Trim(address, "[]")
	if host == "" || strings.ContainsAny(host, "/ ") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", fmt.Errorf("%q is no HOST:PORT", text)
	}
	const https = "443"
	return net.JoinHostPort(host, https), nil
}

// Use makes the clients of config connect to one of the addresses, each as Parse returns it:
// the last one that answered, then the next ones. Without addresses it only makes them
// notice that a server is gone.
func Use(config *rest.Config, addresses []string) {
	dialer := &net.Dialer{Timeout: patience, KeepAliveConfig: alive}
	if len(addresses) == 0 {
		config.Dial = dialer.DialContext
		return
	}
	var good atomic.Int64 // the index of the last one that answered
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var wrong []error
		first := int(good.Load())
		for i := range addresses {
			at := (first + i) % len(addresses)
			connection, err := dialer.DialContext(ctx, network, addresses[at])
			if err == nil {
				good.Store(int64(at))
				return connection, nil
			}
			if wrong = append(wrong, err); ctx.Err() != nil {
				break
			}
		}
		return nil, errors.Join(wrong...)
	}
}
