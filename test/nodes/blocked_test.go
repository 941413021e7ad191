package nodes

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// firewalld is a firewall that lets out what comes in, and rejects the rest.
const firewalld = `nft -f - <<'END'
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		iifname "lo" accept
		goto filter_FWD_public
	}
	chain filter_FWD_public { oifname "eth0" accept; reject with icmpx admin-prohibited; }
}
END`

// Rules of others that drop pods' packets are told, with the commands that let pods pass,
// and these are enough. The agent changes none of them.
func testAnotherTableSaysNo(t *testing.T, w *world) {
	one, two, far := w.machine(t, settings{number: 1, prepare: firewalld}), w.machine(t, settings{number: 2}), w.machine(t, settings{number: 3, fabric: 1})
	a, b, c := one.pod("a", "").serve(t), two.pod("b", "").serve(t), far.pod("c", "").serve(t)
	near := one.pod("near", "").serve(t)
	reach := func() error {
		for family := range 2 {
			for _, way := range [][2]*pod{{a, b}, {b, a}, {a, c}, {c, a}, {a, near}} {
				if _, err := way[0].Ask(t, way[1].at(family, 8080)); err != nil {
					return fmt.Errorf("from %s to %s: %w", way[0].id, way[1].id, err)
				}
			}
		}
		return nil
	}
	problems := func() string {
		return one.shell(`curl -sf http://127.0.0.1:9469/metrics | grep 'fairway_problems{kind="Node",reason="ForwardingBlocked"}' || true`)
	}
	resolved := func() error {
		if said := problems(); said != "" {
			return fmt.Errorf("it says %s", said)
		}
		return nil
	}
	for _, test := range []struct {
		name, rules string
		chain       string // as events name it
		blocks      func() error
		undo        string
		with        string // how its commands begin
	}{
		{
			name: "firewalld, before the agent's start", chain: "chain filter_FORWARD of nftables table inet firewalld",
			blocks: func() error { _, err := b.Ask(t, a.at(0, 8080)); return err },
			with:   "nft insert rule inet firewalld ", undo: "nft delete table inet firewalld",
		},
		{
			name: "Docker", chain: "chain FORWARD of nftables table ip filter",
			rules:  "nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'",
			blocks: func() error { _, err := a.Ask(t, near.at(0, 8080)); return err },
			with:   "iptables -I ", undo: "nft delete table ip filter",
		},
		{
			name: "IPv6 only", chain: "chain FORWARD of nftables table ip6 filter",
			rules:  "ip6tables-nft -P FORWARD DROP",
			blocks: func() error { _, err := a.Ask(t, c.at(1, 8080)); return err },
			with:   "ip6tables -I ", undo: "nft delete table ip6 filter",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.rules != "" {
				one.eventually("its pods reach the others", reach)
				one.shell(test.rules)
			}
			begun := time.Now()
			var message string
			eventually(t, "it is told", 5*time.Second, func() error {
				for _, message = range one.events("ForwardingBlocked") {
					if strings.HasPrefix(message, test.chain+" drops") {
						return nil
					}
				}
				return fmt.Errorf("the events are %q", one.events("ForwardingBlocked"))
			})
			t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), message)
			if err := test.blocks(); err == nil {
				t.Error("it is told, and nothing is blocked")
			}
			before := one.shell("nft -s list ruleset")
			_, commands, _ := strings.Cut(message, "run on this node: ")
			if list := strings.Split(commands, "; "); len(list) != 2 || !strings.HasPrefix(list[0], test.with) || !strings.HasPrefix(list[1], test.with) {
				t.Fatalf("commands: %q", list)
			}
			one.shell(commands)
			one.eventually("its pods reach the others", reach)
			one.eventually("it is resolved", resolved)
			if after := one.shell("nft -s list ruleset"); len(after) <= len(before) {
				t.Errorf("the commands have changed nothing:\n%s", after)
			}
			one.shell(test.undo)
		})
	}
	t.Run("it goes by itself", func(t *testing.T) {
		one.shell("nft add table ip gone; nft add chain ip gone forward '{ type filter hook forward priority 0; policy drop; }'")
		one.told("ForwardingBlocked", "chain forward of nftables table ip gone")
		if problems() == "" {
			t.Error("no Problem is counted")
		}
		one.shell("nft delete table ip gone")
		eventually(t, "it is resolved", 5*time.Second, resolved)
	})
	for _, m := range []*machine{two, far} {
		if said := m.events("ForwardingBlocked"); len(said) > 0 {
			t.Errorf("%s: %q", m.name, said)
		}
	}
}
