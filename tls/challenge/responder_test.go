package challenge

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// responding is a Responder on a port of loopback that knows the challenges.
func responding(t *testing.T, outcomes func(Outcome), challenges ...Challenge) (*Responder, string) {
	t.Helper()
	r := &Responder{Now: time.Now, Answered: outcomes}
	r.Set(challenges)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r, listener.Addr().String()
}

// ask makes the handshake of an authority, or of somebody else.
func ask(address, name string, protocols ...string) (*tls.ConnectionState, error) {
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 2 * HandshakeTimeout}, "tcp", address, &tls.Config{
		ServerName: name, NextProtos: protocols, InsecureSkipVerify: true,
	})
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	state := connection.ConnectionState()
	return &state, nil
}

func alpn(name, token string) Challenge {
	return Challenge{Gateway: "default", Type: TLSALPN01, Name: name, Token: token, KeyAuthorization: token + ".thumb"}
}

func TestResponderAnswersWhatItKnows(t *testing.T) {
	shop, pay := alpn("shop.test", "a"), alpn("pay.test", "b")
	http := alpn("http.test", "c")
	http.Type = HTTP01
	r, address := responding(t, nil, shop, pay, http)
	for _, c := range []Challenge{shop, pay} {
		state, err := ask(address, c.Name, ProtocolTLSALPN)
		if err != nil {
			t.Fatal(err)
		}
		certificate := state.PeerCertificates[0]
		if state.NegotiatedProtocol != ProtocolTLSALPN || !c.Answers(certificate) || certificate.VerifyHostname(c.Name) != nil {
			t.Errorf("%s: %q, for %v", c, state.NegotiatedProtocol, certificate.DNSNames)
		}
		if len(certificate.UnhandledCriticalExtensions) != 1 {
			t.Errorf("critical are %v", certificate.UnhandledCriticalExtensions)
		}
	}
	if state, err := ask(address, "shop.test", ProtocolTLSALPN); err != nil || pay.Answers(state.PeerCertificates[0]) {
		t.Error("one name is answered as another", err)
	}
	for what, asked := range map[string]struct {
		name      string
		protocols []string
	}{
		"an unknown name":            {"other.test", []string{ProtocolTLSALPN}},
		"a name of another type":     {"http.test", []string{ProtocolTLSALPN}},
		"no name":                    {"", []string{ProtocolTLSALPN}},
		"another protocol":           {"shop.test", []string{"h2"}},
		"another protocol beside it": {"shop.test", []string{ProtocolTLSALPN, "h2"}},
		"no protocol":                {"shop.test", nil},
	} {
		if state, err := ask(address, asked.name, asked.protocols...); err == nil {
			t.Errorf("%s is answered with a certificate of %v", what, state.PeerCertificates[0].DNSNames)
		}
	}
	r.Set([]Challenge{alpn("shop.test", "new")})
	if state, err := ask(address, "shop.test", ProtocolTLSALPN); err != nil || shop.Answers(state.PeerCertificates[0]) {
		t.Error("a challenge that is over is answered", err)
	}
	if _, err := ask(address, "pay.test", ProtocolTLSALPN); err == nil {
		t.Error("a name without challenge is answered")
	}
}

// Who opens connections and says nothing is hung up on, and while it does, the
// bounds hold; then the responder answers as before.
func TestResponderOutlivesAFlood(t *testing.T) {
	var tooMany, failed atomic.Int64
	shop := alpn("shop.test", "a")
	_, address := responding(t, func(o Outcome) {
		switch o {
		case TooMany:
			tooMany.Add(1)
		case Failed:
			failed.Add(1)
		case Answered, Unknown:
		}
	}, shop)
	const strangers = 600
	begin := time.Now()
	for range strangers {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { connection.Close() })
	}
	deadline := begin.Add(4 * HandshakeTimeout)
	for range time.Tick(time.Millisecond) {
		if tooMany.Load()+failed.Load() == strangers {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("of %d silent connections %d were refused and %d given up", strangers, tooMany.Load(), failed.Load())
		}
	}
	if failed.Load() > concurrent || failed.Load() == 0 {
		t.Errorf("%d silent connections were waited for at once, want at most %d", failed.Load(), concurrent)
	}
	if state, err := ask(address, "shop.test", ProtocolTLSALPN); err != nil || !shop.Answers(state.PeerCertificates[0]) {
		t.Errorf("after the flood: %v", err)
	}
}
