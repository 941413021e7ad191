package chart

import (
	"fmt"
	"strings"
	"testing"
)

// Denied packets are logged if that is asked for, by agents that deny any.
func TestDeniedPacketsAreLoggedIfAsked(t *testing.T) {
	for values, want := range map[string]bool{
		"":                            false,
		"policies: {logDenied: true}": true,
		"policies: {logDenied: true, enabled: false}":                               false,
		"policies: {logDenied: true}, podNetwork: false, services: {enabled: true}": false,
	} {
		agents := release{values: network(values)}.render(t).must(t, "DaemonSet", "fairway-node")
		if got := strings.Contains(fmt.Sprint(agents.Object), "--log-denied"); got != want {
			t.Errorf("%q: %t, want %t", values, got, want)
		}
	}
}
