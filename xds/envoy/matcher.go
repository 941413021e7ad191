package envoy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// connectionMatcher chooses the filter chain of a connection to the HTTPS
// listener. If it chooses none, Envoy closes the connection.
//
// It replaces the match conditions of the chains for two reasons. Conditions are
// part of the chain, so that adding or removing a name would drain all of its
// connections. And their wildcards match any number of labels.
func connectionMatcher(s route.Settings, chains map[route.Hostname]route.Chain) *matcherv3.Matcher {
	return ofTrusted(s, byProtocol(challenged(chains), byServerName(chains, toChain)))
}

// challenged chooses the chain for TLS-ALPN-01. It is the chain for challenges,
// except for names whose connections are passed through: their backend has its
// own certificates and answers its own challenges.
func challenged(chains map[route.Hostname]route.Chain) *matcherv3.Matcher_OnMatch {
	passed, some := make(map[route.Hostname]route.Chain, len(chains)), false
	for name, chain := range chains {
		passed[name] = route.Chain{}
		if chain.IsPassthrough() {
			passed[name], some = chain, true
		}
	}
	if !some {
		return toChainOf(acmeName)
	}
	return below(byServerName(passed, func(c route.Chain) *matcherv3.Matcher_OnMatch {
		if c.IsPassthrough() {
			return toChain(c)
		}
		return toChainOf(acmeName)
	}))
}

// byProtocol selects connections that offer only TLS-ALPN-01 (RFC 8737).
func byProtocol(challenged *matcherv3.Matcher_OnMatch, rest *matcherv3.Matcher) *matcherv3.Matcher {
	return &matcherv3.Matcher{
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: input("protocols", &networkv3.ApplicationProtocolInput{}),
			TreeType: &matcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: map[string]*matcherv3.Matcher_OnMatch{
					"'" + acmeProtocol + "'": challenged,
				}},
			},
		}},
		OnNoMatch: below(rest),
	}
}

// byServerName chooses by the exact name, then by the wildcard over its first
// label. Other names, and clients without a name, get the choice for AnyHost.
func byServerName(
	chains map[route.Hostname]route.Chain, to func(route.Chain) *matcherv3.Matcher_OnMatch,
) *matcherv3.Matcher {
	exact := make(map[string]*matcherv3.Matcher_OnMatch)
	var wildcards []*matcherv3.Matcher_MatcherList_FieldMatcher
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		chain := chains[name]
		if name == route.AnyHost || chain == chainWithout(chains, name) {
			continue
		}
		if parent, ok := strings.CutPrefix(hostName(name), "*."); ok {
			wildcards = append(wildcards, &matcherv3.Matcher_MatcherList_FieldMatcher{
				Predicate: oneLabelBelow(parent), OnMatch: to(chain),
			})
		} else {
			exact[hostName(name)] = to(chain)
		}
	}
	matcher := &matcherv3.Matcher{OnNoMatch: to(chains[route.AnyHost])}
	if len(wildcards) > 0 {
		matcher.MatcherType = &matcherv3.Matcher_MatcherList_{MatcherList: &matcherv3.Matcher_MatcherList{Matchers: wildcards}}
	}
	if len(exact) == 0 {
		return matcher
	}
	return &matcherv3.Matcher{
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: input("server name", &networkv3.ServerNameInput{}),
			TreeType: &matcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: exact},
			},
		}},
		OnNoMatch: below(matcher),
	}
}

// chainWithout is the chain that a name would have without its own entry.
func chainWithout(chains map[route.Hostname]route.Chain, name route.Hostname) route.Chain {
	if wildcard, ok := name.Wildcard(); ok {
		if chain, ok := chains[wildcard]; ok {
			return chain
		}
	}
	return chains[route.AnyHost]
}

// oneLabelBelow matches names that have one label more than parent.
func oneLabelBelow(parent string) *matcherv3.Matcher_MatcherList_Predicate {
	name := input("server name", &networkv3.ServerNameInput{})
	labels := fmt.Sprintf(`[^.]+(\.[^.]+){%d}`, strings.Count(parent, ".")+1)
	return both(
		predicate(name, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "." + parent}}),
		predicate(name, matching(labels)),
	)
}

// ofTrusted admits only peers that may send a PROXY header (see
// filterChainMatch).
func ofTrusted(s route.Settings, rest *matcherv3.Matcher) *matcherv3.Matcher {
	if s.ProxyProtocol == nil || len(s.ProxyProtocol.From) == 0 {
		return rest
	}
	trusted := &matcherv3.IPMatcher_IPRangeMatcher{OnMatch: below(rest)}
	for _, prefix := range s.ProxyProtocol.From {
		trusted.Ranges = append(trusted.Ranges, &xdscorev3.CidrRange{
			AddressPrefix: prefix.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())),
		})
	}
	return &matcherv3.Matcher{
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: input("peer", &networkv3.DirectSourceIPInput{}),
			TreeType: &matcherv3.Matcher_MatcherTree_CustomMatch{CustomMatch: input("trusted",
				&matcherv3.IPMatcher{RangeMatchers: []*matcherv3.IPMatcher_IPRangeMatcher{trusted}})},
		}},
	}
}

// toChain is the action that chooses a chain.
func toChain(c route.Chain) *matcherv3.Matcher_OnMatch { return toChainOf(ChainName(c)) }

func toChainOf(name string) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: input("filter-chain-name", wrapperspb.String(name)),
	}}
}

// input wraps an extension of a matcher.
func input(name string, config proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: typed(config)}
}
