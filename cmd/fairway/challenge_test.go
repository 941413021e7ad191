package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/xds/route"
)

// By default a gateway sends challenges to the controllers that it gets its
// configuration from.
func TestWhereChallengesAreAnswered(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--xds=controller.test:18000"}, []string{"controller.test:18001"}},
		{[]string{"--xds=10.0.0.1:1", "--xds=[fd00::1]:2"}, []string{"10.0.0.1:18001", "[fd00::1]:18001"}},
		{[]string{"--xds=unix:/xds.sock"}, nil},
		{[]string{"--xds=controller.test:18000", "--acme="}, nil},
		{[]string{"--xds=controller.test:18000", "--acme=other.test:1,another.test:2"}, []string{"other.test:1", "another.test:2"}},
	} {
		g := &gatewaySettings{
			settings: newSettings(route.DefaultSettings()), Gateway: "default", Node: "test", MaxConnections: 1, TLSDir: t.TempDir(),
		}
		flags := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
		g.bind(flags)
		if err := flags.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if err := g.load(flags); err != nil {
			t.Fatalf("%v: %v", c.args, err)
		}
		process, err := g.process("envoy", t.TempDir())
		if err != nil {
			t.Fatalf("%v: %v", c.args, err)
		}
		if got := process.Bootstrap.ACME; !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestChallengeSettingsThatAreWrong(t *testing.T) {
	for name, c := range map[string]challengeSettings{
		"acme-address":  {Address: "18001"},
		"acme-resolver": {Resolvers: []string{"192.0.2.53:53", "dns.test:53"}},
	} {
		if err := c.load(where); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want something on %s", c, err, name)
		}
	}
	for _, c := range []challengeSettings{{}, {Address: ":18001", Resolvers: []string{"192.0.2.53:53", "[::1]:53"}}} {
		if err := c.load(where); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
