package envoy_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Replicas of other versions must agree on this.
func TestTheShardOfAHostNeverChanges(t *testing.T) {
	for host, want := range map[route.Hostname]string{
		"shop.test":     "exact-500",
		"www.shop.test": "exact-213",
		"*.shop.test":   "wildcard-53",
		"*":             "default",
	} {
		if got := envoy.ShardOf(host); got != want {
			t.Errorf("ShardOf(%s) = %s, want %s", host, got, want)
		}
	}
}

func TestHostsAreSpreadEvenly(t *testing.T) {
	shards := envoy.Shards()
	if len(shards) != 577 || len(slices.Compact(slices.Sorted(slices.Values(shards)))) != len(shards) {
		t.Fatalf("%d shards, want 577 different ones", len(shards))
	}
	const hosts = 10000
	exact, wildcard := make(map[string]int), make(map[string]int)
	for i := range hosts {
		exact[envoy.ShardOf(route.Hostname(fmt.Sprintf("host-%d.example.test", i)))]++
		wildcard[envoy.ShardOf(route.Hostname(fmt.Sprintf("*.host-%d.example.test", i)))]++
	}
	for _, spread := range []map[string]int{exact, wildcard} {
		average := hosts / len(spread)
		if fullest := slices.Max(slices.Collect(maps.Values(spread))); fullest > 3*average {
			t.Errorf("%d shards; the fullest holds %d hosts, the average %d", len(spread), fullest, average)
		}
		for shard := range spread {
			if !slices.Contains(shards, shard) {
				t.Errorf("%s is not in Shards()", shard)
			}
		}
	}
	if len(exact) != 512 || len(wildcard) != 64 {
		t.Errorf("%d exact and %d wildcard shards are used, want 512 and 64", len(exact), len(wildcard))
	}
}

func TestEveryShardHasAPlaceholderThatNoRequestFinds(t *testing.T) {
	keys := make(map[string]bool)
	for _, shard := range envoy.Shards() {
		scope := message[*routev3.ScopedRouteConfiguration](t, envoy.Placeholder(shard))
		key := scope.GetKey().GetFragments()[0].GetStringKey()
		if scope.GetRouteConfigurationName() != shard || keys[key] || key != "shard "+shard {
			t.Errorf("the placeholder of %s names %s under %q", shard, scope.GetRouteConfigurationName(), key)
		}
		keys[key] = true
	}
}

// A resource assembled from parts equals the same resource marshalled as a whole.
func TestAShardIsItsVirtualHosts(t *testing.T) {
	var bodies [][]byte
	for _, name := range []string{"shop.test", "www.shop.test"} {
		bodies = append(bodies, envoy.VirtualHost(host(name, prefix("/", "web")), route.Settings{}))
	}
	config := message[*routev3.RouteConfiguration](t, envoy.RouteConfiguration("exact-1", bodies))
	if config.GetName() != "exact-1" || len(config.GetVirtualHosts()) != 2 ||
		config.GetVirtualHosts()[0].GetName() != "shop.test" || config.GetVirtualHosts()[1].GetName() != "www.shop.test" {
		t.Errorf("the shard is %v", config)
	}
	empty := message[*routev3.RouteConfiguration](t, envoy.RouteConfiguration("exact-1", nil))
	config.VirtualHosts = nil
	if empty.String() != config.String() {
		t.Errorf("without hosts it is %v, want %v", empty, config)
	}
}
