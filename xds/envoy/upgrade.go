package envoy

import (
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// webSocket is the only protocol to which a connection may be upgraded.
const webSocket = "websocket"

// anythingBut is a regular expression for all texts except a word of letters, in
// any case. (The regular expression engine has no negation.)
func anythingBut(word string) string {
	others := make([]string, 0, len(word)+1)
	for i := range word {
		others = append(others, word[:i]+"([^"+word[i:i+1]+"].*)?")
	}
	return "(?is)" + strings.Join(append(others, word+".+"), "|")
}

func regexMatch(regex string) *typematcherv3.StringMatcher {
	return &typematcherv3.StringMatcher{MatchPattern: &typematcherv3.StringMatcher_SafeRegex{
		SafeRegex: &typematcherv3.RegexMatcher{Regex: regex},
	}}
}

// unaskedFilter answers 502 if a backend accepts an upgrade that the request did
// not ask for.
const unaskedFilter = "fairway.unasked"

// unasked refuses such a response because Envoy takes it for an ordinary one.
// Envoy would send the next request, of any client, over a connection on which
// the backend no longer speaks HTTP.
func unasked() *customv3.CustomResponse {
	const switching = http.StatusSwitchingProtocols
	status := input("status", &typematcherv3.HttpResponseStatusCodeMatchInput{})
	exactly := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: strconv.Itoa(switching)}}
	return &customv3.CustomResponse{CustomResponseMatcher: when(
		both(predicate(status, exactly), not(isThere("upgrade"))),
		&matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
			Action: input("refuse", &localv3.LocalResponsePolicy{
				StatusCode: wrapperspb.UInt32(http.StatusBadGateway),
				Body:       text(unavailable),
			}),
		}},
	)}
}
