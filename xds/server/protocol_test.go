package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// client speaks the protocol by hand, one message at a time.
type client struct {
	t      testing.TB
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	got    chan *discoveryv3.DeltaDiscoveryResponse
	err    chan error
}

func (b *bed) client() *client {
	b.t.Helper()
	conn, err := b.wire.Dial()
	if err != nil {
		b.t.Fatal(err)
	}
	b.conns = append(b.conns, conn)
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	c := &client{t: b.t, stream: stream, got: make(chan *discoveryv3.DeltaDiscoveryResponse, 100), err: make(chan error, 1)}
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				c.err <- err
				return
			}
			c.got <- r
		}
	}()
	return c
}

type request = discoveryv3.DeltaDiscoveryRequest

func (c *client) send(r *request) {
	c.t.Helper()
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

// hello is the first request of a stream: clusters, as a legacy wildcard.
func (c *client) hello() {
	c.t.Helper()
	c.send(&request{Node: &corev3.Node{Id: "hand", Cluster: "default"}, TypeUrl: envoy.TypeCluster})
}

// receive takes the next response, which must be of that type.
func (c *client) receive(url string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	select {
	case r := <-c.got:
		if r.GetTypeUrl() != url {
			c.t.Fatalf("response of %s, want %s", r.GetTypeUrl(), url)
		}
		return r
	case err := <-c.err:
		c.t.Fatal(err)
	case <-time.After(deadline):
		c.t.Fatalf("no response of %s", url)
	}
	return nil
}

func (c *client) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&request{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (c *client) nack(r *discoveryv3.DeltaDiscoveryResponse, detail string) {
	c.t.Helper()
	c.send(&request{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &status.Status{Code: int32(codes.Internal), Message: detail}})
}

// quiet checks that nothing comes for a while.
func (c *client) quiet() {
	c.t.Helper()
	select {
	case r := <-c.got:
		c.t.Errorf("unexpected response of %s: %v removed %v", r.GetTypeUrl(), resourceNames(r), r.GetRemovedResources())
	case err := <-c.err:
		c.t.Errorf("stream ended: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
}

func resourceNames(r *discoveryv3.DeltaDiscoveryResponse) []string {
	var names []string
	for _, res := range r.GetResources() {
		names = append(names, res.GetName())
	}
	slices.Sort(names)
	return names
}

func (c *client) wants(r *discoveryv3.DeltaDiscoveryResponse, names, removed []string) {
	c.t.Helper()
	gone := slices.Sorted(slices.Values(r.GetRemovedResources()))
	if got := resourceNames(r); !slices.Equal(got, names) || !slices.Equal(gone, removed) {
		c.t.Errorf("response of %s holds %v removed %v, want %v removed %v", r.GetTypeUrl(), got, gone, names, removed)
	}
}

// inUse is a bed with one host, so that there is something of every type.
func inUse(t testing.TB) *bed {
	b := opened(t, quick())
	b.publish(hostOf("shop.test", to("/", "web")))
	return b
}

func TestWildcardIsAnsweredInBothSpellings(t *testing.T) {
	for name, names := range map[string][]string{"legacy": nil, "star": {"*"}} {
		t.Run(name, func(t *testing.T) {
			b := inUse(t)
			c := b.client()
			c.send(&request{Node: &corev3.Node{Cluster: "default"}, TypeUrl: envoy.TypeCluster, ResourceNamesSubscribe: names})
			c.wants(c.receive(envoy.TypeCluster), []string{"shop/web:80"}, nil)
		})
	}
}

func TestWildcardOfNothingIsAnswered(t *testing.T) {
	b := opened(t, quick())
	c := b.client()
	c.hello()
	c.wants(c.receive(envoy.TypeCluster), nil, nil)
}

func TestUnknownNamesAreAnsweredWithRemovedResources(t *testing.T) {
	for _, url := range []string{envoy.TypeEndpoints, envoy.TypeRoute, envoy.TypeSecret} {
		t.Run(url, func(t *testing.T) {
			b := inUse(t)
			c := b.client()
			c.hello()
			c.ack(c.receive(envoy.TypeCluster))
			c.send(&request{TypeUrl: url, ResourceNamesSubscribe: []string{"nobody"}})
			r := c.receive(url)
			c.wants(r, nil, []string{"nobody"})
			c.ack(r)
			c.send(&request{TypeUrl: url, ResourceNamesUnsubscribe: []string{"nobody"}})
			c.send(&request{TypeUrl: url, ResourceNamesSubscribe: []string{"nobody", "nobody-else"}})
			c.wants(c.receive(url), nil, []string{"nobody", "nobody-else"})
		})
	}
}

func TestNameAskedForAgainIsAnsweredAgain(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	c.ack(c.receive(envoy.TypeCluster))
	ask := &request{TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/web:80"}}
	for range 3 {
		c.send(ask)
		r := c.receive(envoy.TypeEndpoints)
		c.wants(r, []string{"shop/web:80"}, nil)
		c.ack(r)
	}
	c.quiet()
}

func TestUnsubscribedNameIsNotSent(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	c.ack(c.receive(envoy.TypeCluster))
	c.send(&request{TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/web:80"}})
	c.ack(c.receive(envoy.TypeEndpoints))
	c.send(&request{TypeUrl: envoy.TypeEndpoints, ResourceNamesUnsubscribe: []string{"shop/web:80"}})
	c.quiet()
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.9"))
	c.quiet()
}

func TestOneResponseOfATypeIsUnderWayAndChangesCoalesce(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	c.ack(c.receive(envoy.TypeCluster))
	c.send(&request{TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/web:80"}})
	first := c.receive(envoy.TypeEndpoints)
	for i := range 100 {
		b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), fmt.Sprintf("10.0.1.%d", i)))
	}
	c.quiet()
	c.ack(first)
	second := c.receive(envoy.TypeEndpoints)
	if body := string(second.GetResources()[0].GetResource().GetValue()); !strings.Contains(body, "10.0.1.99") {
		t.Errorf("the second response is not the newest: %q", body)
	}
	c.ack(second)
	c.quiet()
}

func TestStaleNonceIsNoAnswer(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	first := c.receive(envoy.TypeCluster)
	c.send(&request{TypeUrl: envoy.TypeCluster, ResponseNonce: "of another stream"})
	b.publish(hostOf("cart.test", to("/", "cart")))
	c.quiet()
	c.ack(first)
	c.wants(c.receive(envoy.TypeCluster), []string{"shop/cart:80"}, nil)
}

func TestRefusedVersionIsNotSentAgain(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	c.ack(c.receive(envoy.TypeCluster))
	c.send(&request{TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/web:80"}})
	c.ack(c.receive(envoy.TypeEndpoints))
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.9"))
	c.nack(c.receive(envoy.TypeEndpoints), "not today")
	c.quiet()
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.10"))
	c.wants(c.receive(envoy.TypeEndpoints), []string{"shop/web:80"}, nil)
}

func TestUnknownTypeIsIgnored(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	c.ack(c.receive(envoy.TypeCluster))
	c.send(&request{TypeUrl: "type.googleapis.com/envoy.service.runtime.v3.Runtime"})
	c.quiet()
}

func TestReconnectTellsOnlyDifferences(t *testing.T) {
	b := inUse(t)
	b.publish(hostOf("cart.test", to("/", "cart")))
	c := b.client()
	c.hello()
	all := c.receive(envoy.TypeCluster)
	c.wants(all, []string{"shop/cart:80", "shop/web:80"}, nil)
	versions := make(map[string]string)
	for _, r := range all.GetResources() {
		versions[r.GetName()] = r.GetVersion()
	}
	versions["shop/gone:80"] = "1"
	versions["shop/web:80"] = "older"
	again := b.client()
	again.send(&request{Node: &corev3.Node{Cluster: "default"}, TypeUrl: envoy.TypeCluster, InitialResourceVersions: versions})
	r := again.receive(envoy.TypeCluster)
	again.wants(r, []string{"shop/web:80"}, nil) // the removal comes when no route can name it any more
	again.ack(r)
}

func TestNothingChangedWhileAway(t *testing.T) {
	b := inUse(t)
	e := b.synced(simulated.Options{})
	e.Disconnect()
	b.eventually("the server notices", func() bool { return len(b.server.Envoys()) == 0 })
	before := e.Statistics().Resources
	e.Connect()
	b.eventually("it comes back", func() bool { return len(b.server.Envoys()) == 1 && b.idle() })
	b.always("no resource is sent", func() bool { return e.Statistics().Resources == before })
}

func TestUnknownGatewayIsTold(t *testing.T) {
	b := opened(t, quick())
	c := b.client()
	c.send(&request{Node: &corev3.Node{Cluster: "nowhere"}, TypeUrl: envoy.TypeCluster})
	select {
	case err := <-c.err:
		if grpcstatus.Code(err) != codes.NotFound {
			t.Errorf("stream ended with %v, want NotFound", err)
		}
	case <-time.After(deadline):
		t.Error("stream stays open")
	}
}

func TestStateOfTheWorldIsUnimplemented(t *testing.T) {
	b := opened(t, quick())
	b.client() // dials
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(b.conns[0]).StreamAggregatedResources(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); grpcstatus.Code(err) != codes.Unimplemented {
		t.Errorf("got %v, want Unimplemented", err)
	}
}

func TestCloseEndsStreamsAndWaits(t *testing.T) {
	b := inUse(t)
	c := b.client()
	c.hello()
	c.receive(envoy.TypeCluster)
	done := make(chan struct{})
	go func() { b.server.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(deadline):
		t.Fatal("Close hangs")
	}
	b.server.PublishHost(keyOf("late.test"), hostOf("late.test")) // must not panic or hang
}

func TestReplicasAgreeOnVersions(t *testing.T) {
	pictures := make([]map[string]map[string]string, 2)
	for i := range pictures {
		b := opened(t, quick())
		names := []route.Hostname{"a.test", "b.test", "*.c.test", route.AnyHost}
		if i == 1 {
			slices.Reverse(names)
		}
		e := b.synced(simulated.Options{})
		for _, n := range names {
			b.served(hostOf(n, to("/cart", "cart"), to("/", "web")))
		}
		pictures[i] = versionsOf(e)
	}
	diffPictures(t, "first replica", pictures[0], "second replica", pictures[1])
}

var allTypes = []string{envoy.TypeCluster, envoy.TypeEndpoints, envoy.TypeListener, envoy.TypeRoute, envoy.TypeScope, envoy.TypeSecret}

// versionsOf are all accepted versions of an Envoy, by type.
func versionsOf(e *simulated.Envoy) map[string]map[string]string {
	all := make(map[string]map[string]string)
	for _, url := range allTypes {
		all[url] = e.Versions(url)
	}
	return all
}

func diffPictures(t testing.TB, aName string, a map[string]map[string]string, bName string, b map[string]map[string]string) {
	t.Helper()
	for _, url := range allTypes {
		for name, version := range a[url] {
			if b[url][name] != version {
				t.Errorf("%s %s: %s has %q, %s has %q", url, name, aName, version, bName, b[url][name])
			}
		}
		for name, version := range b[url] {
			if _, ok := a[url][name]; !ok {
				t.Errorf("%s %s: %s lacks it, %s has %q", url, name, aName, bName, version)
			}
		}
	}
}
