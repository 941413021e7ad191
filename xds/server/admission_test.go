package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// ask opens a stream with one request, and returns what came first: a response,
// or the stream's end.
func (b *bed) ask(node, url string) (*discoveryv3.DeltaDiscoveryResponse, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), deadline)
	defer cancel()
	conn, err := b.wire.Dial()
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	ads, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	first := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: url, Node: &corev3.Node{Id: node, Cluster: string(route.DefaultGateway)},
	}
	if err := ads.Send(first); err != nil {
		return nil, err
	}
	return ads.Recv()
}

// turnedAway demands that the stream of a node ends at once, so that Envoy tries another
// server.
func (b *bed) turnedAway(node, url string) {
	b.t.Helper()
	if res, err := b.ask(node, url); status.Code(err) != codes.Unavailable {
		b.t.Errorf("%s got %v, %v, want to be turned away", node, res, err)
	}
}

// A server whose configuration cannot be kept up to date sends its Envoys, and their
// provers, to others. It admits those that found no other, with the configuration that it has.
func TestAStaleServerIsTheLastChoice(t *testing.T) {
	options := quick()
	options.LastResortAfter = 200 * time.Millisecond
	b := opened(t, options)
	for range 2 {
		b.mayDrop(b.synced(simulated.Options{}))
	}
	b.served(hostOf("shop.test", to("/", "web")))
	b.server.SetStale(time.Now())
	b.eventually("all Envoys are sent away", func() bool { return len(b.server.Envoys()) == 0 })
	began := time.Now()
	for _, url := range []string{envoy.TypeCluster, proof.Type} {
		b.turnedAway("one", url)
	}
	b.eventually("one that comes again and again is let in", func() bool {
		res, err := b.ask("one", envoy.TypeCluster)
		return err == nil && res.GetTypeUrl() == envoy.TypeCluster
	})
	if took := time.Since(began); took < options.LastResortAfter {
		t.Errorf("it was let in after %s, want %s at least", took, options.LastResortAfter)
	}
	b.turnedAway("two", envoy.TypeCluster) // each for itself
	b.turnedAway("one", envoy.TypeCluster) // and each time anew

	b.server.SetFresh()
	b.synced(simulated.Options{})
}

// A prover is told the age of the configuration, and when it is up to date again.
func TestProversAreToldTheAgeOfThePicture(t *testing.T) {
	options := quick()
	options.LastResortAfter = time.Nanosecond
	b := opened(t, options)
	age := func() time.Duration {
		t.Helper()
		var age time.Duration
		b.eventually("a prover is let in", func() bool {
			res, err := b.ask("p", proof.Type)
			ok := false
			if err == nil {
				age, ok = proof.ParseAge(res.GetSystemVersionInfo())
			}
			return ok
		})
		return age
	}
	if got := age(); got != 0 {
		t.Errorf("the picture is %s old, want 0", got)
	}
	b.server.SetStale(time.Now().Add(-time.Hour))
	if got := age(); got < time.Hour || got > time.Hour+time.Minute {
		t.Errorf("the picture is %s old, want an hour", got)
	}
	b.server.SetFresh()
	if got := age(); got != 0 {
		t.Errorf("the picture is %s old, want 0", got)
	}
}

// A server without a configuration is no good choice either: an Envoy does not wait
// there while another could serve it.
func TestAServerThatIsNotOpenIsTheLastChoice(t *testing.T) {
	options := quick()
	options.LastResortAfter = time.Millisecond
	b := newBed(t, options)
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	b.turnedAway("one", envoy.TypeCluster)
	answered := make(chan error, 1)
	go func() {
		res, err := b.ask("one", envoy.TypeCluster)
		if err == nil && res.GetTypeUrl() != envoy.TypeCluster {
			err = fmt.Errorf("got %v", res)
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("before there is a picture: %v", err)
	case <-time.After(1500 * time.Millisecond): // longer than it waits at first
	}
	b.server.Open()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// A peer that claims to be many nodes costs the server a bounded amount.
func TestTurnedAwayNodesAreBounded(t *testing.T) {
	soak.Bulk(t)
	b := opened(t, quick())
	b.server.SetStale(time.Now())
	if n := b.server.TurnAwayNodes(soak.Pick(11_000, 30_000)); n > 10_000 {
		t.Errorf("%d are remembered", n)
	}
}
