package envoy

import (
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// The virtual hosts are spread over a fixed set of RouteConfigurations by a
// hash of their host, so that a change of one host costs Envoy one shard, and
// wildcard hosts apart from full names. The numbers are part of the protocol
// between the replicas of a controller: all must agree on them.
const (
	exactShards    = 512
	wildcardShards = 64

	exactPrefix    = "exact-"
	wildcardPrefix = "wildcard-"
	defaultShard   = "default"
)

// Shards lists the names of all RouteConfigurations, sorted by kind and number.
func Shards() []string {
	shards := make([]string, 0, exactShards+wildcardShards+1)
	for i := range exactShards {
		shards = append(shards, shardName(exactPrefix, i))
	}
	for i := range wildcardShards {
		shards = append(shards, shardName(wildcardPrefix, i))
	}
	return append(shards, defaultShard)
}

// ShardOf names the RouteConfiguration that holds the virtual host of a host.
func ShardOf(host route.Hostname) string {
	if hostName(host) == "*" {
		return defaultShard
	}
	if strings.HasPrefix(string(host), "*.") {
		return shardName(wildcardPrefix, int(hash(host)%wildcardShards))
	}
	return shardName(exactPrefix, int(hash(host)%exactShards))
}

// isExact reports whether requests find the host by its full name.
func isExact(host route.Hostname) bool { return strings.HasPrefix(ShardOf(host), exactPrefix) }

func shardName(prefix string, i int) string { return prefix + strconv.Itoa(i) }

func hash(host route.Hostname) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(host))
	sum := h.Sum64()
	return sum ^ sum>>32
}

// Scope binds a host to its shard: from now on requests for it find its
// virtual host there.
func Scope(host route.Hostname) Resource {
	return scope(hostName(host), scopeKey(host), ShardOf(host))
}

// Placeholder is a scope that no request can ask for. It names a shard, so
// that Envoy is subscribed to it before a host needs it.
func Placeholder(shard string) Resource {
	key := "shard " + shard
	return scope(key, key, shard)
}

func scope(name, key, shard string) Resource {
	return resource(&routev3.ScopedRouteConfiguration{
		Name:                   name,
		RouteConfigurationName: shard,
		Key: &routev3.ScopedRouteConfiguration_Key{
			Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
				Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: key},
			}},
		},
	})
}

// hostName is the host itself: a Hostname has one spelling and passes
// unchanged. Escaping keeps what is none from meaning anything else.
func hostName(host route.Hostname) string {
	if host == route.AnyHost || host == "" {
		return string(route.AnyHost)
	}
	if parent, ok := strings.CutPrefix(string(host), "*."); ok {
		return "*." + url.PathEscape(parent)
	}
	return url.PathEscape(string(host))
}

// scopeKey is what the header hostHeader must hold for a request to find the
// host. The space in that of a wildcard keeps clients from sending it, and
// "*.shop.test" from being a pattern that covers "*.a.shop.test".
func scopeKey(host route.Hostname) string {
	name := hostName(host)
	if parent, ok := strings.CutPrefix(name, "*."); ok {
		return "* " + parent
	}
	return name
}
