package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// The versions of Envoys are told once each, and not without end.
func TestVersionsOfEnvoys(t *testing.T) {
	var n recentEnvoys
	var envoys []server.EnvoyState
	for _, version := range []string{"1.40.0", "1.39.1", "", "1.40.0"} {
		envoys = append(envoys, server.EnvoyState{Gateway: "g", Version: version, Synced: true})
	}
	want := Gateway{Envoys: 4, Synced: 4, Versions: []string{"1.39.1", "1.40.0"}}
	if diff := cmp.Diff(want, n.count(envoys, time.Unix(0, 0))["g"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range 2 * maxVersions {
		envoys = append(envoys, server.EnvoyState{Gateway: "g", Version: fmt.Sprintf("2.%d.0", i), Synced: true})
	}
	if got := n.count(envoys, time.Unix(0, 0))["g"]; len(got.Versions) != maxVersions {
		t.Errorf("%d versions are told, want %d", len(got.Versions), maxVersions)
	}
}

// An Envoy that has just come is awaited until it has caught up, for a while;
// one that never does is not awaited anew when it connects again.
func TestNewcomers(t *testing.T) {
	var n recentEnvoys
	now := time.Unix(0, 0)
	envoy := func(synced bool, pending int) []server.EnvoyState {
		return []server.EnvoyState{{Gateway: "g", Node: "n", Synced: synced, Pending: pending}}
	}
	for _, step := range []struct {
		after  time.Duration
		envoys []server.EnvoyState
		want   Gateway
	}{
		{0, envoy(false, 3), Gateway{Envoys: 1, Awaited: 1}},
		{time.Second, envoy(true, 1), Gateway{Envoys: 1, Synced: 1, Awaited: 1}},
		{time.Second, envoy(true, 0), Gateway{Envoys: 1, Synced: 1}},
		{time.Second, envoy(true, 1), Gateway{Envoys: 1, Synced: 1}},
		{time.Second, nil, Gateway{}},
		{time.Second, envoy(false, 3), Gateway{Envoys: 1, Awaited: 1}},
		{9 * time.Second, envoy(false, 3), Gateway{Envoys: 1, Awaited: 1}},
		{time.Second, envoy(false, 3), Gateway{Envoys: 1}},
		{time.Second, nil, Gateway{}},
		{30 * time.Second, envoy(false, 3), Gateway{Envoys: 1}},
		{2 * time.Minute, nil, Gateway{}},
		{time.Second, envoy(false, 3), Gateway{Envoys: 1, Awaited: 1}},
	} {
		now = now.Add(step.after)
		want := map[route.Gateway]Gateway{}
		if len(step.envoys) > 0 {
			want["g"] = step.want
		}
		if diff := cmp.Diff(want, n.count(step.envoys, now)); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", now.Sub(time.Unix(0, 0)), diff)
		}
	}
}
