package takeover

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/healthcheck"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// shell runs commands of others, and returns what they say.
func shell(t *testing.T, commands string) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	out, err := exec.CommandContext(ctx, "sh", "-ec", "PATH=$PATH:/usr/sbin\n"+commands).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
	return string(out)
}

// node begins without any rules.
func node(t *testing.T) *Node {
	t.Helper()
	engine, err := nft.New(t.Context(), nft.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		shell(t, "nft flush ruleset")
		_ = engine.Close()
	})
	shell(t, "nft flush ruleset")
	return &Node{Engine: engine, Now: time.Now}
}

func look(t *testing.T, n *Node) Found {
	t.Helper()
	f, err := n.Look(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func expect(t *testing.T, when string, n *Node, want Found) {
	t.Helper()
	if diff := cmp.Diff(want, look(t, n)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// others are rules of the kubelet and of users.
const others = `
iptables-nft -t mangle -N KUBE-IPTABLES-HINT; iptables-nft -t nat -N KUBE-KUBELET-CANARY
iptables-nft -t nat -N USERS; iptables-nft -t nat -A PREROUTING -p tcp --dport 9 -j USERS
iptables-nft -t nat -A USERS -p tcp -m statistic --mode random --probability 0.5 -j REDIRECT --to-ports 10
iptables-nft -A FORWARD -s 198.18.0.0/15 -m comment --comment mine -j DROP
nft add table ip users; nft add chain ip users KUBE-SERVICES; nft add rule ip users KUBE-SERVICES counter`

// saved is what iptables-save says, without empty tables.
const saved = `for program in iptables ip6tables; do echo "$program"; $program-nft-save | grep -v -e '^[#*]' -e '^COMMIT' -e 'ACCEPT \['; done; nft list table ip users`

// The rules are those of kube-proxy 1.37.2 with three Services: testdata has what
// iptables-save says.
func TestRulesOfIptablesGoAndOthersStay(t *testing.T) {
	n := node(t)
	expect(t, "a node without kube-proxy", n, Found{})
	// kube-proxy makes this chain again, with the kubelet, and nobody can say whose it is.
	const firewall = `
iptables-nft -N KUBE-FIREWALL; iptables-nft -A INPUT -j KUBE-FIREWALL; iptables-nft -A OUTPUT -j KUBE-FIREWALL
iptables-nft -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
ip6tables-nft -N KUBE-FIREWALL; ip6tables-nft -A INPUT -j KUBE-FIREWALL; ip6tables-nft -A OUTPUT -j KUBE-FIREWALL`
	shell(t, others+firewall)
	want := shell(t, saved)
	shell(t, "nft flush ruleset")
	shell(t, "iptables-nft-restore < testdata/iptables.save; ip6tables-nft-restore < testdata/ip6tables.save"+others)
	before := look(t, n)
	if diff := cmp.Diff(Found{Iptables: []string{"ip nat", "ip filter", "ip6 nat", "ip6 filter"}, Rest: true}, before); diff != "" {
		t.Errorf("with kube-proxy's rules (-want +got):\n%s", diff)
	}
	began := time.Now()
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("removed in %s", time.Since(began))
	if diff := cmp.Diff(want, shell(t, saved)); diff != "" {
		t.Errorf("what stays (-want +got):\n%s", diff)
	}
	expect(t, "afterwards", n, Found{})
	if err := n.Remove(t.Context()); err != nil {
		t.Errorf("with nothing to remove: %v", err)
	}
}

func TestTablesOfNftablesGo(t *testing.T) {
	n := node(t)
	shell(t, `for f in ip ip6; do
		nft add table $f kube-proxy; nft add chain $f kube-proxy service; nft add chain $f kube-proxy nat-prerouting '{ type nat hook prerouting priority -100; }'
		nft add rule $f kube-proxy nat-prerouting jump service; done; nft add table inet kube-proxy; nft add chain inet kube-proxy mine`)
	expect(t, "with kube-proxy's tables", n, Found{Nftables: []string{"ip kube-proxy", "ip6 kube-proxy"}, Rest: true})
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "afterwards", n, Found{})
	if left := strings.TrimSpace(shell(t, "nft list tables")); left != "table inet kube-proxy" {
		t.Errorf("left are %q", left)
	}
}

func TestAChainThatSomethingElseLeadsToStays(t *testing.T) {
	n := node(t)
	shell(t, "iptables-nft-restore < testdata/iptables.save; iptables-nft -t nat -A POSTROUTING -s 198.18.0.0/15 -j KUBE-MARK-MASQ"+`
		nft add map ip nat theirs '{ type ipv4_addr : verdict; elements = { 192.0.2.1 : jump KUBE-NODEPORTS } ; }'`)
	kept := []string{"KUBE-MARK-MASQ of table ip nat", "KUBE-POSTROUTING of table ip nat"}
	expect(t, "with kube-proxy's rules", n, Found{Iptables: []string{"ip nat", "ip filter"}, Rest: true, Kept: kept})
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, "KUBE-NODEPORTS of table ip nat")
	expect(t, "afterwards", n, Found{Iptables: []string{"ip nat"}, Kept: kept})
	left := shell(t, "iptables-nft-save -t nat")
	for _, rule := range []string{"-A POSTROUTING -s 198.18.0.0/15 -j KUBE-MARK-MASQ", "-A KUBE-POSTROUTING -m comment", `-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING`} {
		if !strings.Contains(left, rule) {
			t.Errorf("%s is gone:\n%s", rule, left)
		}
	}
	shell(t, "iptables-nft -t nat -D POSTROUTING -s 198.18.0.0/15 -j KUBE-MARK-MASQ")
	if f := look(t, n); !f.Rest {
		t.Errorf("when nothing leads there any more: %v", f)
	}
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "at last", n, Found{Iptables: []string{"ip nat"}, Kept: kept[2:]})
}

func TestRulesOfIptablesLegacyAreSeen(t *testing.T) {
	n := node(t)
	if _, err := os.Stat("/proc/net/ip_tables_names"); err != nil {
		t.Skip("this kernel has no tables of iptables-legacy")
	}
	shell(t, "iptables-legacy -t nat -N DOCKER; ip6tables-legacy -t nat -N KUBE-SERVICES")
	expect(t, "with rules in IPv6", n, Found{Legacy: []string{"ip6tables-legacy"}})
	shell(t, "ip6tables-legacy -t nat -X KUBE-SERVICES")
	n.asked = time.Time{} // as if time had passed
	expect(t, "without", n, Found{})
}

func TestInterfaceOfIPVS(t *testing.T) {
	n := node(t)
	shell(t, "ip link add kube-ipvs0 type bridge") // a dummy needs a module
	expect(t, "with it", n, Found{IPVS: true})
	shell(t, "ip link del kube-ipvs0")
	expect(t, "without", n, Found{})
}

// What answers at the port counts only if it is a kube-proxy, or does not answer in time.
func TestAnswers(t *testing.T) {
	n := node(t)
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   bool
	}{
		{"kube-proxy 1.37", body(200, `{"lastUpdated":"2026-11-30T14:37:39.7Z","currentTime":"2026-11-30T14:37:39.7Z","nodeEligible":true,"healthy":true,"status":{}}`), true},
		{"one that is not healthy", body(503, `{"lastUpdated":"2026-11-30T14:37:39.7Z","currentTime":"2026-11-30T14:39:39.7Z"}`), true},
		{"Fairway's agent before this one", (&healthcheck.Node{Now: time.Now}).ServeHTTP, false},
		{"another program", body(200, `{"ready": true}`), false},
		{"a web page", body(200, "<html>"), false},
		{"one that hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", Address)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: test.answer}
			go func() { _ = server.Serve(listener) }()
			if f := look(t, n); f.Answers != test.want {
				t.Errorf("answers: %t", f.Answers)
			}
			server.Close()
		})
	}
	if look(t, n).Answers {
		t.Error("nobody listens, and it answers")
	}
}

func body(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}
}
