package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// asker is a stream that asks for certificates alone, as Envoy's handshakes do.
type asker struct {
	b      *bed
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	has    map[string]string // whose certificate, by name
	gone   []string          // names that were answered with their absence
}

func (b *bed) asker() *asker {
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
	return &asker{b: b, stream: stream, has: map[string]string{}}
}

func (a *asker) send(request *discoveryv3.DeltaDiscoveryRequest) {
	a.b.t.Helper()
	request.TypeUrl = envoy.TypeSecret
	request.Node = &corev3.Node{Id: "asker", Cluster: string(route.DefaultGateway)}
	if err := a.stream.Send(request); err != nil {
		a.b.t.Fatal(err)
	}
}

func (a *asker) asks(names ...string) {
	a.b.t.Helper()
	a.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: names})
}

// hears takes one response and accepts it. What is gone is asked for no more, as
// Envoy has it.
func (a *asker) hears() {
	a.b.t.Helper()
	response, err := a.stream.Recv()
	if err != nil {
		a.b.t.Fatal(err)
	}
	for _, r := range response.GetResources() {
		a.has[r.GetName()] = string(r.GetResource().GetValue())
	}
	for _, name := range response.GetRemovedResources() {
		delete(a.has, name)
		a.gone = append(a.gone, name)
	}
	a.send(&discoveryv3.DeltaDiscoveryRequest{
		ResponseNonce: response.GetNonce(), ResourceNamesUnsubscribe: response.GetRemovedResources(),
	})
}

// until hears until the name has that certificate; "" for none.
func (a *asker) until(name, want string) {
	a.b.t.Helper()
	for begin := time.Now(); time.Since(begin) < deadline; {
		if want == "" && slices.Contains(a.gone, name) {
			a.gone = nil
			return
		}
		if want != "" && strings.Contains(a.has[name], want) {
			return
		}
		a.hears()
	}
	a.b.t.Fatalf("%s never has %q", name, want)
}

func certificateOf(mark string) *route.Certificate {
	return &route.Certificate{Chain: []byte("chain of " + mark), Key: secret.New([]byte("key of " + mark))}
}

func TestTheMostSpecificCertificateIsServed(t *testing.T) {
	b := opened(t, quick())
	a := b.asker()
	publish := func(host route.Hostname, certificate *route.Certificate) {
		b.server.PublishCertificate(keyOf(host), certificate)
	}
	b.server.PublishCertificate(route.Key{Host: route.AnyHost}, certificateOf("all gateways"))
	a.asks("a.shop.test")
	a.until("a.shop.test", "") // no host serves it
	a.asks("*", "")
	a.until("*", "")

	b.server.PublishHost(keyOf("a.shop.test"), hostOf("a.shop.test", to("/", "web")))
	a.asks("a.shop.test", "A.Shop.Test", envoy.NoServerName)
	a.until("a.shop.test", "all gateways")
	a.until(envoy.NoServerName, "all gateways")
	publish(route.AnyHost, certificateOf("this gateway"))
	a.until("a.shop.test", "this gateway")
	publish("*.shop.test", certificateOf("the wildcard"))
	a.until("a.shop.test", "the wildcard")
	a.until("A.Shop.Test", "the wildcard")
	publish("a.shop.test", certificateOf("its own"))
	a.until("a.shop.test", "its own")
	publish("a.shop.test", certificateOf("its next"))
	a.until("A.Shop.Test", "its next")
	publish("a.shop.test", nil)
	a.until("a.shop.test", "the wildcard")
	publish("*.shop.test", nil)
	a.until("a.shop.test", "this gateway")
	b.server.PublishHost(keyOf("a.shop.test"), nil)
	a.until("a.shop.test", "")
	a.asks("x.y.shop.test")
	a.until("x.y.shop.test", "")
}

// Names that clients can invent are bounded: the secret of the oldest is removed, and sent
// again if an Envoy asks again.
func TestSharedCertificatesAreBounded(t *testing.T) {
	soak.Bulk(t)
	const most = 2000
	b := opened(t, quick())
	a := b.asker()
	b.server.PublishCertificate(keyOf("*.shop.test"), certificateOf("the wildcard"))
	for i := range most {
		a.asks(fmt.Sprintf("n%d.shop.test", i))
	}
	for i := range most {
		a.until(fmt.Sprintf("n%d.shop.test", i), "the wildcard")
	}
	a.asks("one-more.shop.test")
	a.until("n0.shop.test", "")
	a.until("one-more.shop.test", "the wildcard")
	a.asks("n0.shop.test")
	a.until("n1.shop.test", "")
	a.until("n0.shop.test", "the wildcard")
	if len(a.has) > most {
		t.Errorf("%d names have a certificate", len(a.has))
	}
}

// A certificate that an Envoy refuses costs itself: what was good before is
// served, and that is told; so is its end, when another one is published.
func TestARefusedCertificateIsTakenBack(t *testing.T) {
	b := opened(t, quick())
	a := b.asker()
	rejections := func() int { return len(b.observer.rejections("shop.test")) }
	last := func() string { all := b.observer.rejections("shop.test"); return all[len(all)-1] }
	b.server.PublishCertificate(keyOf("*.test"), certificateOf("the wildcard"))
	b.server.PublishCertificate(keyOf("shop.test"), certificateOf("the first"))
	a.asks("shop.test")
	a.until("shop.test", "the first")
	b.eventually("it is accepted", func() bool { return len(b.server.Pending()) == 0 })
	for i, next := range []string{"the second", "the third"} {
		b.server.PublishCertificate(keyOf("shop.test"), certificateOf(next))
		response, err := a.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(response.GetResources()[0].GetResource().GetValue()); !strings.Contains(got, next) {
			t.Fatalf("sent is %q, want %s", got, next)
		}
		a.send(&discoveryv3.DeltaDiscoveryRequest{
			ResponseNonce: response.GetNonce(), ErrorDetail: &statuspb.Status{Code: 13, Message: "no good"},
		})
		b.eventually("it is told", func() bool { return rejections() == 2*i+1 })
		if last() != "no good" {
			t.Errorf("told %q", last())
		}
		another := b.asker()
		another.asks("shop.test")
		another.until("shop.test", "the first")
		if i == 0 {
			continue
		}
		b.server.PublishCertificate(keyOf("shop.test"), nil)
		a.until("shop.test", "the wildcard")
		b.eventually("its end is told", func() bool { return last() == "" })
	}
}
