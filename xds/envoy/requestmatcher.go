package envoy

import (
	"google.golang.org/protobuf/proto"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// always is a matcher with one action that applies to every request. The
// composite filter uses it to give a route a filter that itself has no per-route
// configuration.
func always(name string, config proto.Message) *matcherv3.Matcher {
	return &matcherv3.Matcher{OnNoMatch: execute(name, config)}
}

// when is a matcher with one branch. Its action applies if the predicate holds;
// otherwise nothing happens.
func when(holds *matcherv3.Matcher_MatcherList_Predicate, action *matcherv3.Matcher_OnMatch) *matcherv3.Matcher {
	return &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherList_{
		MatcherList: &matcherv3.Matcher_MatcherList{Matchers: []*matcherv3.Matcher_MatcherList_FieldMatcher{{
			Predicate: holds,
			OnMatch:   action,
		}}},
	}}
}

// execute sends a request through a filter with this configuration.
func execute(name string, config proto.Message) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: input(name, &compositev3.ExecuteFilterAction{
			TypedConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: typed(config)},
		}),
	}}
}

func matching(regex string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
		EngineType: &matcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &matcherv3.RegexMatcher_GoogleRE2{}},
		Regex:      regex,
	}}}
}

func anyOf(some ...*matcherv3.Matcher_MatcherList_Predicate) *matcherv3.Matcher_MatcherList_Predicate {
	return &matcherv3.Matcher_MatcherList_Predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &matcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: some},
	}}
}

func both(a, b *matcherv3.Matcher_MatcherList_Predicate) *matcherv3.Matcher_MatcherList_Predicate {
	return &matcherv3.Matcher_MatcherList_Predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &matcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: []*matcherv3.Matcher_MatcherList_Predicate{a, b}},
	}}
}

func not(a *matcherv3.Matcher_MatcherList_Predicate) *matcherv3.Matcher_MatcherList_Predicate {
	return &matcherv3.Matcher_MatcherList_Predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: a}}
}

// inHeader holds for requests whose header has a matching value.
func inHeader(name string, value *matcherv3.StringMatcher) *matcherv3.Matcher_MatcherList_Predicate {
	return predicate(input(name, &typematcherv3.HttpRequestHeaderMatchInput{HeaderName: name}), value)
}

// isThere holds for requests that have the header, whatever its value.
func isThere(name string) *matcherv3.Matcher_MatcherList_Predicate {
	return inHeader(name, matching(`\C*`))
}
