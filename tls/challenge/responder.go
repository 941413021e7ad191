package challenge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The bounds of a Responder, which anybody can connect to. An authority connects from
// a few places, for each name, once or a few times.
const (
	// HandshakeTimeout is how long one may take.
	HandshakeTimeout = 5 * time.Second

	handshakes      = 100 // a second
	handshakesBurst = 200
	concurrent      = 256
)

// Responder answers TLS-ALPN-01. It is a TLS server that completes a handshake only
// if the client asks for acme-tls/1 and nothing else, by the name of a known
// challenge, and then closes the connection. There is nothing behind it.
//
// The Envoys of all gateways pass connections to it as they are, so it does not see
// the clients' addresses: its bounds are of all connections together. A caller that
// wants a bound for each address passes a listener that has one.
type Responder struct {
	// Now is the clock.
	Now func() time.Time
	// Answered is called with the outcome of each handshake. It may be nil and must
	// not block.
	Answered func(Outcome)

	mu    sync.Mutex
	known map[string]*answer // by name
}

// Outcome is how a handshake ended.
type Outcome string

// The outcomes.
const (
	Answered Outcome = "answered"
	Unknown  Outcome = "unknown" // a name without challenge, or another protocol
	Failed   Outcome = "failed"  // the handshake broke off
	TooMany  Outcome = "too-many"
)

// answer is a certificate, made when it is first asked for.
type answer struct {
	challenge Challenge
	make      func() (*tls.Certificate, error)
}

// Set makes challenges all that is answered. It leaves out those of other types. Of
// several challenges for a name, which only two authorities at once can ask for, the
// last in order is answered.
func (r *Responder) Set(challenges []Challenge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[string]*answer, len(challenges))
	for _, c := range slices.SortedFunc(slices.Values(challenges), Compare) {
		if c.Type != TLSALPN01 {
			continue
		}
		if before := r.known[c.Name]; before != nil && before.challenge == c {
			known[c.Name] = before
			continue
		}
		known[c.Name] = &answer{c, sync.OnceValues(func() (*tls.Certificate, error) { return c.certificate(r.Now()) })}
	}
	r.known = known
}

// Knows reports whether c is the challenge that is answered for its name.
func (r *Responder) Knows(c Challenge) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.known[c.Name]
	return a != nil && a.challenge.Token == c.Token && a.challenge.KeyAuthorization == c.KeyAuthorization
}

// Serve answers on a listener until ctx ends, and returns when no connection is
// left.
func (r *Responder) Serve(ctx context.Context, listener net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	limit, free := rate.NewLimiter(handshakes, handshakesBurst), make(chan struct{}, concurrent)
	for {
		connection, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve challenges: %w", err)
		case err != nil: // too many files are open, or the like: that passes
			pause(ctx)
			continue
		case !limit.Allow():
			r.refuse(connection)
			continue
		}
		select {
		case free <- struct{}{}:
			running.Go(func() { r.answer(ctx, connection); <-free })
		default:
			r.refuse(connection)
		}
	}
}

// pause waits a moment before Accept is called again on a listener that failed.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// refuse closes a connection without an answer.
func (r *Responder) refuse(connection net.Conn) {
	_ = connection.Close()
	r.count(TooMany)
}

// answer makes one handshake.
func (r *Responder) answer(ctx context.Context, connection net.Conn) {
	defer connection.Close() //nolint:errcheck // all is said
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	server := tls.Server(connection, &tls.Config{
		GetConfigForClient: r.config,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{ProtocolTLSALPN},
	})
	err := server.HandshakeContext(ctx)
	switch {
	case errors.Is(err, errUnknown):
		r.count(Unknown)
	case err != nil:
		r.count(Failed)
	default:
		r.count(Answered)
		_ = server.CloseWrite() // the client may have gone
	}
}

func (r *Responder) count(o Outcome) {
	if r.Answered != nil {
		r.Answered(o)
	}
}

// errUnknown is of a handshake that no challenge answers.
var errUnknown = errors.New("no challenge is known of this name") // a constant

// config has a handshake go on with the certificate of its name, or fail.
func (r *Responder) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != ProtocolTLSALPN {
		return nil, errUnknown
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	r.mu.Lock()
	found := r.known[name]
	r.mu.Unlock()
	if found == nil {
		return nil, errUnknown
	}
	certificate, err := found.make()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{*certificate},
		NextProtos:             []string{ProtocolTLSALPN},
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
	}, nil
}
