package customresources_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/controllers/objects/customresources"
	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/olddefinitions"
)

// What a real API server publishes of manifests is what the manifests have. Somebody
// without any right may read it.
func TestWhatAClusterLacks(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	published, err := customresources.Document(c.User("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		apply string
		want  []string
		there bool // any kind is
	}{
		{"", []string{"kind AddressPool", "kind ClusterGatewayConfig", "kind GatewayConfig", "kind Issuer"}, false},
		{olddefinitions.Manifest(t, "Issuer.spec.externalAccount", "GatewayConfig"), []string{"kind GatewayConfig", "spec.externalAccount of Issuer"}, true},
		{olddefinitions.Manifest(t, "Issuer.spec.controller"), []string{"spec.controller of Issuer"}, true},
		{olddefinitions.Manifest(t, ""), nil, true},
	} {
		if step.apply != "" {
			c.Kubectl(t, step.apply, "apply", "--server-side", "--force-conflicts", "-f", "-")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for {
			missing, installed, err := customresources.Look(ctx, published)
			if err == nil && slices.Equal(missing, step.want) && installed == step.there {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("missing are %q, installed: %t, %v; want %q", missing, installed, err, step.want)
			}
			<-time.After(100 * time.Millisecond)
		}
		cancel()
	}
}

func TestFieldsBelowAMissingOneAreNotNamed(t *testing.T) {
	known := customresources.Fields{"A": {"", "spec", "spec.a", "spec.a.b", "spec.ab", "spec.list", "spec.list[].x", "spec.list[].y"}, "B": {""}}
	for _, test := range []struct {
		has  customresources.Fields
		want []string
	}{
		{known, nil},
		{customresources.Fields{"A": {"", "spec", "spec.ab", "spec.list", "spec.list[].x"}, "B": {""}}, []string{"spec.a of A", "spec.list[].y of A"}},
		{customresources.Fields{"A": {"", "spec", "spec.a", "spec.a.b"}}, []string{"spec.ab of A", "spec.list of A", "kind B"}},
		{customresources.Fields{"B": {""}, "C": {"", "spec"}}, []string{"kind A"}},
	} {
		if got := customresources.Missing(known, test.has); !slices.Equal(got, test.want) {
			t.Errorf("of %v missing are %q, want %q", test.has, got, test.want)
		}
	}
}

// This version's own fields are found, whatever their depth.
func TestFieldsOfThisVersion(t *testing.T) {
	known, err := customresources.Known()
	if err != nil {
		t.Fatal(err)
	}
	for kind, fields := range map[string][]string{
		"Issuer":               {"", "spec.controller", "spec.dns.rfc2136.tsig.keyName", "status.orders[].names", "status.conditions[].type"},
		"GatewayConfig":        {"", "spec.tls.hsts.maxAge", "status.conditions"},
		"ClusterGatewayConfig": {"", "spec.proxyProtocol.from"},
	} {
		for _, field := range fields {
			if !slices.Contains(known[kind], field) {
				t.Errorf("kind %s has no field %q; it has %q", kind, field, known[kind])
			}
		}
	}
}

func TestATextNamesNoMoreThanAPersonReads(t *testing.T) {
	var missing []string
	for i := range 30 {
		missing = append(missing, fmt.Sprintf("spec.f%d of A", i))
	}
	if got := customresources.Text(missing); !strings.Contains(got, "spec.f9 of A and 20 more: ") || strings.Contains(got, "spec.f10") {
		t.Errorf("it says %s", got)
	}
	if got := customresources.Text(nil); got != "" {
		t.Errorf("of nothing it says %s", got)
	}
}

func TestAClusterThatDoesNotAnswerIsNotJudged(t *testing.T) {
	away := errors.New("connection refused")
	_, _, err := customresources.Look(t.Context(), func(context.Context) ([]byte, error) { return nil, away })
	if !errors.Is(err, away) {
		t.Errorf("error %v", err)
	}
	if _, _, err := customresources.Look(t.Context(), func(context.Context) ([]byte, error) { return []byte("<html>"), nil }); err == nil {
		t.Error("what is no document is read")
	}
}
