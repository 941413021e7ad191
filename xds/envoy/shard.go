package envoy

import (
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// A hash of the host spreads the virtual hosts over a fixed set of
// RouteConfigurations, so that a change of one host costs Envoy one shard.
// Wildcard hosts have their own shards. The numbers are part of the protocol
// between the replicas of a controller: all replicas must use the same.
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

// Scope binds a host to its shard, in which requests find the virtual host.
func Scope(host route.Hostname) Resource {
	return scope(hostName(host), scopeKey(host), ShardOf(host))
}

// Placeholder is a scope that no request can match. It names a shard, so that
// Envoy subscribes to the shard before a host needs it.
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

// hostName is the host itself: a valid Hostname has one spelling and passes
// unchanged. Escaping keeps an invalid one from having another meaning.
func hostName(host route.Hostname) string {
	if host == route.AnyHost || host == "" {
		return string(route.AnyHost)
	}
	if parent, ok := strings.CutPrefix(string(host), "*."); ok {
		return "*." + url.PathEscape(parent)
	}
	return url.PathEscape(string(host))
}

// scopeKey is the value of hostHeader with which a request finds the host. The
// key of a wildcard holds a space. So clients cannot send it, and "*.shop.test"
// is no pattern that covers "*.a.shop.test".
func scopeKey(host route.Hostname) string {
	name := hostName(host)
	if parent, ok := strings.CutPrefix(name, "*."); ok {
		return "* " + parent
	}
	return name
}
