package envoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// requestHeaders changes the headers of a request before Envoy chooses its route.
// It removes a client's own claims about its address and the requested host; it
// keeps those of a trusted proxy.
func requestHeaders(s route.Settings) *earlyv3.HeaderMutation {
	mutations := []*mutationv3.HeaderMutation{
		removePrefix("x-envoy-"),
		// Envoy has already answered "100-continue". Gateways and backends
		// disagree about other values.
		remove("expect"),
		remove(clientHeader),
		remove(hostHeader),
		set(hostHeader, "%REQ(:AUTHORITY)%"),
	}
	if s.TrustedHops == 0 {
		mutations = append(mutations,
			remove("forwarded"),
			remove("x-forwarded-host"),
			set("x-forwarded-host", "%REQ(:AUTHORITY)%"),
			remove("x-forwarded-for"),
		)
	} else {
		mutations = append(mutations, setIfAbsent("x-forwarded-host", "%REQ(:AUTHORITY)%"), bareAddress(s.TrustedHops))
	}
	return &earlyv3.HeaderMutation{Mutations: mutations}
}

func removePrefix(prefix string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: &typematcherv3.StringMatcher{
			MatchPattern: &typematcherv3.StringMatcher_Prefix{Prefix: prefix},
		}},
	}}
}

func remove(header string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: header}}
}

func set(name, format string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: header(name, format)}}
}

func setIfAbsent(name, format string) *mutationv3.HeaderMutation {
	mutation := set(name, format)
	mutation.GetAppend().AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
	return mutation
}

// header replaces all values of a header.
func header(name, format string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: format},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
