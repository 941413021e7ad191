package nft_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// theirs is what iptables-nft makes of rules with matches and targets of xtables, beside a
// table that nft has made.
const theirs = `
iptables-nft-restore <<'END'
*nat
:USER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-A - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "service portals" -j KUBE-SERVICES
-A OUTPUT -m addrtype --dst-type LOCAL -j USER
-A USER -p tcp -m tcp --dport 1 -j KUBE-SVC-A
-A USER -p tcp -m tcp --dport 2 -j REDIRECT --to-ports 3
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -g KUBE-SVC-A
-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.0.1:6443
COMMIT
END
nft -f - <<'END'
table ip kube-proxy {
	map services { type ipv4_addr : verdict; elements = { 10.96.0.1 : goto service } }
	chain service { dnat to 10.244.0.1; }
	chain nat-prerouting { type nat hook prerouting priority -100; ip daddr vmap @services; }
}
table ip users { chain input { type filter hook input priority 0; }; }
END`

var (
	natTable   = nft.TableKey{Family: nft.IPv4, Name: "nat"}
	proxyTable = nft.TableKey{Family: nft.IPv4, Name: "kube-proxy"}
)

func outline(t *testing.T, e *nft.Engine) nft.Outline {
	t.Helper()
	o, err := e.Outline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestLinksOfOthersAreSeenBesideWhatIsUnknown(t *testing.T) {
	e := open(t, nft.Options{}, small("kept"))
	commit(t, e)
	t.Cleanup(func() { _, _ = try(context.WithoutCancel(t.Context()), "flush", "ruleset") })
	shell(t, theirs)
	o := outline(t, e)
	if o.Has(nft.TableKey{Family: nft.IPv4, Name: "kept"}, "") {
		t.Error("what the engine keeps is taken for another's")
	}
	want := []string{"KUBE-SEP-A", "KUBE-SERVICES", "KUBE-SVC-A", "OUTPUT", "PREROUTING", "USER"}
	if diff := cmp.Diff(want, slices.DeleteFunc(o.Chains(natTable), func(n string) bool { return n == "INPUT" || n == "POSTROUTING" })); diff != "" {
		t.Errorf("chains (-want +got):\n%s", diff)
	}
	links, err := e.Links(t.Context(), o, natTable)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, l := range links {
		said = append(said, fmt.Sprintf("%s > %s if %q", l.Chain, l.To, strings.Join(l.If, ", ")))
	}
	t.Log(strings.Join(said, "\n"))
	for _, want := range []string{
		`PREROUTING > KUBE-SERVICES if ""`,
		`OUTPUT > KUBE-SERVICES if "match conntrack"`,
		`OUTPUT > USER if "match addrtype"`,
		`KUBE-SVC-A > KUBE-SEP-A if "match statistic"`,
	} {
		if !slices.Contains(said, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if len(said) != 6 {
		t.Errorf("there are %d links, want 6", len(said))
	}

	// Nothing is read again before somebody writes.
	submit(t, e, small("kept").Key(), "a", addresses("10.0.0.1"))
	commit(t, e)
	if _, err := e.Links(t.Context(), o, natTable); !errors.Is(err, nft.ErrChanged) {
		t.Errorf("after a commit the links of an old outline are %v", err)
	}
	if _, err := e.Links(t.Context(), outline(t, e), natTable); err != nil {
		t.Error(err)
	}
	if !outline(t, e).Same(o) {
		t.Error("a commit of the engine has changed what others have")
	}
	shell(t, "nft add chain ip nat NEW")
	if now := outline(t, e); !now.Has(natTable, "NEW") || now.Same(o) {
		t.Error("a chain that is new is not seen")
	}
}

func TestWithdrawTakesAllOfItOrNothing(t *testing.T) {
	e := open(t, nft.Options{}, small("kept"))
	commit(t, e)
	t.Cleanup(func() { _, _ = try(context.WithoutCancel(t.Context()), "flush", "ruleset") })
	shell(t, theirs)
	links := func(o nft.Outline) nft.Withdrawal {
		all, err := e.Links(t.Context(), o, natTable)
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(l nft.Link) bool { return l.To != "KUBE-SERVICES" })
		return nft.Withdrawal{
			Tables: []nft.TableKey{proxyTable, small("kept").Key()},
			Links:  map[nft.TableKey][]nft.Link{natTable: all},
			Chains: map[nft.TableKey][]string{natTable: {"KUBE-SERVICES"}},
		}
	}
	old := outline(t, e)
	what := links(old)
	shell(t, "nft add table ip other")
	if err := e.Withdraw(t.Context(), old, what); !errors.Is(err, nft.ErrChanged) {
		t.Errorf("after others have written: %v", err)
	}
	if !outline(t, e).Has(natTable, "KUBE-SERVICES") {
		t.Error("something was taken nevertheless")
	}

	now := outline(t, e)
	what = links(now)
	what.Chains[natTable] = append(what.Chains[natTable], "NONE")
	if err := e.Withdraw(t.Context(), now, what); err == nil {
		t.Error("a chain that does not exist was taken")
	}
	if !outline(t, e).Has(natTable, "KUBE-SERVICES") || !outline(t, e).Has(proxyTable, "service") {
		t.Error("half of it was taken")
	}

	if err := e.Withdraw(t.Context(), now, links(now)); err != nil {
		t.Fatal(err)
	}
	after := outline(t, e)
	if after.Has(proxyTable, "") || after.Has(natTable, "KUBE-SERVICES") {
		t.Error("it is still there")
	}
	left := run(t, "list", "ruleset")
	for _, stays := range []string{"chain USER", "chain KUBE-SVC-A", "chain KUBE-SEP-A", "table ip users", "table ip kept", "jump USER", "jump KUBE-SVC-A"} {
		if !strings.Contains(left, stays) {
			t.Errorf("%s is gone", stays)
		}
	}
	if changes, err := e.Check(t.Context()); err != nil || len(changes) > 0 {
		t.Errorf("the engine's own table has changed: %v %v", changes, err)
	}
}

// A chain that a verdict map of somebody else leads to cannot be deleted.
func TestWithdrawLeavesAChainThatAMapLeadsTo(t *testing.T) {
	e := open(t, nft.Options{})
	t.Cleanup(func() { _, _ = try(context.WithoutCancel(t.Context()), "flush", "ruleset") })
	shell(t, theirs)
	shell(t, "nft add map ip nat theirs '{ type ipv4_addr : verdict; elements = { 192.0.2.1 : jump KUBE-SEP-A } ; }'")
	o := outline(t, e)
	what := nft.Withdrawal{Chains: map[nft.TableKey][]string{natTable: {"KUBE-SEP-A", "KUBE-SVC-A"}}}
	links, err := e.Links(t.Context(), o, natTable)
	if err != nil {
		t.Fatal(err)
	}
	what.Links = map[nft.TableKey][]nft.Link{natTable: slices.DeleteFunc(links, func(l nft.Link) bool { return l.To != "KUBE-SVC-A" })}
	if err := e.Withdraw(t.Context(), o, what); err != nil {
		t.Fatal(err)
	}
	after := outline(t, e)
	if !after.Has(natTable, "KUBE-SEP-A") || after.Has(natTable, "KUBE-SVC-A") {
		t.Errorf("left are %q", after.Chains(natTable))
	}
	if left := run(t, "list", "chain", "ip", "nat", "KUBE-SEP-A"); strings.Contains(left, "10.244.0.1") {
		t.Errorf("it still has its rules: %s", left)
	}
}
