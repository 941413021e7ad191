package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// fakeProver is a prover that gives the answers of a test.
type fakeProver struct {
	b      *bed
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	leave  func()
	asked  chan *discoveryv3.DeltaDiscoveryResponse
}

// prover connects a prover that has proved these versions before.
func (b *bed) prover(had map[string]string) *fakeProver {
	b.t.Helper()
	conn, err := b.wire.Dial()
	if err != nil {
		b.t.Fatal(err)
	}
	b.conns = append(b.conns, conn)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	w := &fakeProver{b: b, stream: stream, leave: func() { conn.Close() }, asked: make(chan *discoveryv3.DeltaDiscoveryResponse, 1000)}
	w.send(&discoveryv3.DeltaDiscoveryRequest{InitialResourceVersions: had})
	go func() {
		defer close(w.asked)
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			if len(response.GetResources())+len(response.GetRemovedResources()) > 0 { // else it tells the age
				w.asked <- response
			}
		}
	}()
	return w
}

func (w *fakeProver) send(request *discoveryv3.DeltaDiscoveryRequest) {
	w.b.t.Helper()
	request.TypeUrl = proof.Type
	request.Node = &corev3.Node{Id: "gateway-0", Cluster: string(route.DefaultGateway)}
	if err := w.stream.Send(request); err != nil {
		w.b.t.Fatal(err)
	}
}

// next is the next question.
func (w *fakeProver) next() *discoveryv3.DeltaDiscoveryResponse {
	w.b.t.Helper()
	select {
	case response := <-w.asked:
		return response
	case <-time.After(deadline):
		w.b.t.Fatal("nothing is asked")
		return nil
	}
}

// is demands that the response asks for the name, and returns its statement.
func (w *fakeProver) is(response *discoveryv3.DeltaDiscoveryResponse, name string) proof.Statement {
	w.b.t.Helper()
	if len(response.GetResources()) != 1 || response.GetResources()[0].GetName() != name {
		w.b.t.Fatalf("asked for %v, want %s", response, name)
	}
	statement, err := proof.Parse(name, response.GetResources()[0].GetResource())
	if err != nil {
		w.b.t.Fatal(err)
	}
	if got := response.GetResources()[0].GetVersion(); got != statement.Version() {
		w.b.t.Errorf("version %s, want %s", got, statement.Version())
	}
	return statement
}

func (w *fakeProver) acks(response *discoveryv3.DeltaDiscoveryResponse) {
	w.b.t.Helper()
	w.send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: response.GetNonce()})
}

func (w *fakeProver) nacks(response *discoveryv3.DeltaDiscoveryResponse, code codes.Code, detail string) {
	w.b.t.Helper()
	w.send(&discoveryv3.DeltaDiscoveryRequest{
		ResponseNonce: response.GetNonce(), ErrorDetail: &statuspb.Status{Code: int32(code), Message: detail},
	})
}

// acksAll takes and ACKs what comes until the name was asked for.
func (w *fakeProver) acksAll(until string) {
	w.b.t.Helper()
	for {
		response := w.next()
		w.acks(response)
		if len(response.GetResources()) > 0 && response.GetResources()[0].GetName() == until {
			return
		}
	}
}

// idle demands that no question comes for a while.
func (w *fakeProver) idle() {
	w.b.t.Helper()
	select {
	case response := <-w.asked:
		w.b.t.Errorf("asked for %v", response)
	case <-time.After(100 * time.Millisecond):
	}
}

// issued is a certificate for a name, and its fingerprint.
func issued(t testing.TB, name route.Hostname) (*route.Certificate, proof.Fingerprint) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: string(name)}, DNSNames: []string{string(name)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &route.Certificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: secret.New([]byte("key")),
	}, proof.FingerprintOf(der)
}

// proving is an open bed with HTTPS whose certificates are awaited for a second.
func proving(t testing.TB, patience time.Duration) *bed {
	t.Helper()
	options := quick()
	options.ProofTimeout = patience
	b := newBed(t, options)
	settings := route.DefaultSettings()
	settings.HTTPSPort = 443
	b.server.PublishSettings(route.DefaultGateway, settings)
	b.server.Open()
	return b
}

func TestEveryCertificateIsProved(t *testing.T) {
	b := proving(t, deadline)
	shop, shopLeaf := issued(t, "shop.test")
	fallback, _ := issued(t, "any")
	b.server.PublishCertificate(keyOf("shop.test"), shop)
	b.server.PublishCertificate(route.Key{Host: route.AnyHost}, fallback)
	w := b.prover(nil)
	got := map[string]proof.Statement{}
	for range 2 {
		response := w.next()
		name := response.GetResources()[0].GetName()
		got[name] = w.is(response, name)
		w.acks(response)
	}
	if !got["shop.test"].Holds(shopLeaf) || got[proof.NoName].Name == "" {
		t.Errorf("asked for %v", got)
	}
	w.idle()

	next, nextLeaf := issued(t, "shop.test")
	b.server.PublishCertificate(keyOf("shop.test"), next)
	response := w.next()
	if statement := w.is(response, "shop.test"); !statement.Holds(nextLeaf) {
		t.Error("asked for the certificate that was there before")
	}
	// It is back to what is proved before the answer comes.
	b.server.PublishCertificate(keyOf("shop.test"), shop)
	w.nacks(response, codes.Unknown, "another one")
	w.idle()

	b.server.PublishCertificate(keyOf("shop.test"), nil)
	if removed := w.next().GetRemovedResources(); len(removed) != 1 || removed[0] != "shop.test" {
		t.Errorf("removed are %v", removed)
	}
	w.idle()
}

// An Envoy that starts has thousands of certificates to prove. A new one does not wait
// for these.
func TestWhatIsNewIsProvedFirst(t *testing.T) {
	const many, most = 500, 16
	b := proving(t, deadline)
	for i := range many {
		c, _ := issued(t, "x")
		b.server.PublishCertificate(keyOf(route.Hostname(fmt.Sprintf("old-%d.test", i))), c)
	}
	w := b.prover(nil)
	var underWay []*discoveryv3.DeltaDiscoveryResponse
	for range most {
		underWay = append(underWay, w.next())
	}
	w.idle() // no more are asked for at a time
	c, _ := issued(t, "new.test")
	b.server.PublishCertificate(keyOf("new.test"), c)
	w.acks(underWay[0])
	w.is(w.next(), "new.test")
}

// A prover that comes from another controller is not asked for the certificates that it
// has proved there.
func TestWhatWasProvedBeforeIsNotAskedFor(t *testing.T) {
	b := proving(t, deadline)
	same, leaf := issued(t, "same.test")
	changed, _ := issued(t, "changed.test")
	b.server.PublishCertificate(keyOf("same.test"), same)
	b.server.PublishCertificate(keyOf("changed.test"), changed)
	w := b.prover(map[string]string{
		"same.test":    proof.Statement{Leaves: []proof.Fingerprint{leaf}}.Version(),
		"changed.test": "another", "gone.test": "whatever",
	})
	if removed := w.next().GetRemovedResources(); len(removed) != 1 || removed[0] != "gone.test" {
		t.Errorf("removed are %v", removed)
	}
	w.is(w.next(), "changed.test")
	w.idle()
}

// A host with a new certificate counts as served when every gateway shows the
// certificate, or when that takes too long. No other host waits for it.
func TestAHostWaitsForItsCertificate(t *testing.T) {
	for _, c := range []struct {
		name     string
		patience time.Duration
		goOn     func(*fakeProver, *discoveryv3.DeltaDiscoveryResponse)
	}{
		{"until it is shown", deadline, func(w *fakeProver, r *discoveryv3.DeltaDiscoveryResponse) { w.acks(r) }},
		{"until its time is over", time.Second, func(*fakeProver, *discoveryv3.DeltaDiscoveryResponse) {}},
		{"until its gateway has left", deadline, func(w *fakeProver, _ *discoveryv3.DeltaDiscoveryResponse) { w.leave() }},
		{"not where it cannot be seen", deadline, func(w *fakeProver, r *discoveryv3.DeltaDiscoveryResponse) {
			w.nacks(r, codes.FailedPrecondition, "no way in")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := proving(t, c.patience)
			b.synced(simulated.Options{})
			fallback, _ := issued(t, "any")
			b.server.PublishCertificate(route.Key{Host: route.AnyHost}, fallback)
			w := b.prover(nil)
			w.acks(w.next()) // it is there
			certificate, _ := issued(t, "*.shop.test")
			b.server.PublishCertificate(keyOf("*.shop.test"), certificate)
			response := w.next()
			w.is(response, "*.shop.test")
			b.served(hostOf("a.shop.test", to("/", "web")))
			b.served(hostOf("other.test", to("/", "web")))
			if b.server.Host(keyOf("other.test")).ProofPending {
				t.Error("a host waits for the certificate of another")
			}
			if !b.server.Host(keyOf("a.shop.test")).ProofPending {
				t.Error("the host does not wait for its certificate")
			}
			before := b.observer.timesServed("a.shop.test")
			c.goOn(w, response)
			b.eventually("the observer hears of it", func() bool { return b.observer.timesServed("a.shop.test") > before })
			if b.server.Host(keyOf("a.shop.test")).ProofPending {
				t.Error("the host still waits")
			}
		})
	}
}

// A certificate that is not shown is asked for again. The observer is told when that
// lasts, and when it is over.
func TestWhatIsNotServedIsTold(t *testing.T) {
	b := proving(t, 500*time.Millisecond)
	w := b.prover(nil)
	certificate, _ := issued(t, "shop.test")
	b.server.PublishCertificate(keyOf("shop.test"), certificate)
	unproved := func() string {
		b.observer.mu.Lock()
		defer b.observer.mu.Unlock()
		return b.observer.unproved[keyOf("shop.test")]
	}
	for begin := time.Now(); unproved() == ""; {
		if time.Since(begin) > deadline {
			t.Fatal("nobody is told")
		}
		response := w.next()
		w.is(response, "shop.test")
		w.nacks(response, codes.Unknown, "the certificate of somebody else")
		within(50*time.Millisecond, func() bool { return unproved() != "" })
	}
	if got := unproved(); !strings.Contains(got, "gateway gateway-0: the certificate of somebody else") {
		t.Errorf("told %q", got)
	}
	if got := b.server.FailedProofs()[route.DefaultGateway]; got != 1 {
		t.Errorf("%d are unproved, want 1", got)
	}
	w.acks(w.next())
	b.eventually("the end of it is told", func() bool { return unproved() == "" })
	if got := b.server.FailedProofs()[route.DefaultGateway]; got != 0 {
		t.Errorf("%d are unproved, want none", got)
	}
}

// Without HTTPS there is nothing to prove; with it there is at once.
func TestProofsFollowTheSettings(t *testing.T) {
	b := newBed(t, quick())
	settings := route.DefaultSettings()
	b.server.PublishSettings(route.DefaultGateway, settings)
	b.server.Open()
	certificate, _ := issued(t, "shop.test")
	b.server.PublishCertificate(keyOf("shop.test"), certificate)
	w := b.prover(nil)
	w.idle()
	settings.HTTPSPort, settings.ProxyProtocol = 443, &route.ProxyProtocol{}
	b.server.PublishSettings(route.DefaultGateway, settings)
	response := w.next()
	if !w.is(response, "shop.test").Proxy {
		t.Error("nothing is said of the PROXY protocol")
	}
	w.nacks(response, codes.FailedPrecondition, "no way in")
	w.idle()
	settings.ProxyProtocol = nil
	b.server.PublishSettings(route.DefaultGateway, settings)
	w.acksAll("shop.test")
	settings.HTTPSPort = 0
	b.server.PublishSettings(route.DefaultGateway, settings)
	if removed := w.next().GetRemovedResources(); len(removed) != 1 {
		t.Errorf("removed are %v", removed)
	}
}

// Envoy keeps the name that stands for those of a wildcard, however many names clients
// invent.
func TestTheNameOfAProofIsKept(t *testing.T) {
	const most = 2000
	b := opened(t, quick())
	a := b.asker()
	b.server.PublishCertificate(keyOf("*.shop.test"), certificateOf("the wildcard"))
	point := proof.NameOf("*.shop.test")
	a.asks(point)
	a.until(point, "the wildcard")
	for i := range most + 1 {
		a.asks(fmt.Sprintf("n%d.shop.test", i))
	}
	a.until("n0.shop.test", "")
	a.until(fmt.Sprintf("n%d.shop.test", most), "the wildcard")
	if a.has[point] == "" {
		t.Error("it was taken back")
	}
}
