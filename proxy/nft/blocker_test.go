package nft_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// crossing are packets of pods, in both families: from pod to pod, and to and from a
// pod of another node.
func crossing() []nft.Packet {
	var all []nft.Packet
	for _, a := range [][3]string{{"10.244.1.2", "10.244.1.3", "10.244.2.2"}, {"fd00:244:1::2", "fd00:244:1::3", "fd00:244:2::2"}} {
		pod, neighbour, far := netip.MustParseAddr(a[0]), netip.MustParseAddr(a[1]), netip.MustParseAddr(a[2])
		all = append(all,
			nft.Packet{In: "fwpod", Out: "fwneighbour", From: pod, To: neighbour},
			nft.Packet{In: "fwpod", Out: "eth0", From: pod, To: far},
			nft.Packet{In: "eth0", Out: "fwpod", From: far, To: pod})
	}
	return all
}

// said is a blocker in one line: "ip filter FORWARD policy: fwpod>eth0".
func said(b nft.Blocker) string {
	by := "policy"
	if b.At != "" {
		by = b.At
	}
	if b.Doubtful {
		by += "?"
	}
	if b.Owned {
		by += " owned"
	}
	line := fmt.Sprintf("%s %s %s:", b.Table, b.Chain, by)
	for _, p := range b.Lost {
		line += fmt.Sprintf(" %s>%s", p.In, p.Out)
		if p.From.Is6() {
			line += "/6"
		}
	}
	return line
}

// blockers asks an engine.
func blockers(t *testing.T, e *nft.Engine) []string {
	t.Helper()
	found, err := e.Blockers(t.Context(), crossing())
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, b := range found {
		all = append(all, said(b))
	}
	return all
}

// shell runs commands of others.
func shell(t testing.TB, commands string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", "PATH=$PATH:/usr/sbin\n"+commands).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
}

const (
	every4  = " fwpod>fwneighbour fwpod>eth0 eth0>fwpod"
	every6  = " fwpod>fwneighbour/6 fwpod>eth0/6 eth0>fwpod/6"
	every   = every4 + every6
	docker4 = "ip filter FORWARD policy:" + every4
	docker6 = "ip6 filter FORWARD policy:" + every6
)

// docker is what Docker 27 does to the rules of one family.
const docker = `
for chain in DOCKER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do $iptables -N $chain; done
$iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
$iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN
$iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
$iptables -A DOCKER-ISOLATION-STAGE-2 -j RETURN
$iptables -A DOCKER-USER -j RETURN
$iptables -A FORWARD -j DOCKER-USER
$iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
$iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$iptables -A FORWARD -o docker0 -j DOCKER
$iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
$iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT
$iptables -P FORWARD DROP
`

// ufw is what ufw makes of forwarding; its default is to drop.
const ufw = `
for chain in ufw-before-logging-forward ufw-before-forward ufw-user-forward ufw-after-forward ufw-after-logging-forward ufw-logging-deny \
	ufw-reject-forward ufw-track-forward; do $iptables -N $chain; done
for chain in ufw-before-logging-forward ufw-before-forward ufw-after-forward ufw-after-logging-forward ufw-reject-forward ufw-track-forward; do
	$iptables -A FORWARD -j $chain
done
$iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$iptables -A ufw-before-forward -p icmp --icmp-type echo-request -j ACCEPT
$iptables -A ufw-before-forward -j ufw-user-forward
$iptables -A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
$iptables -A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
$iptables -A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
$iptables -P FORWARD DROP
`

// kubeProxy is what kube-proxy's iptables mode has at the forward hook.
const kubeProxy = `
for chain in KUBE-PROXY-FIREWALL KUBE-FORWARD KUBE-SERVICES KUBE-EXTERNAL-SERVICES; do $iptables -N $chain; done
$iptables -A FORWARD -m conntrack --ctstate NEW -m comment --comment "load balancer firewall" -j KUBE-PROXY-FIREWALL
$iptables -A FORWARD -m comment --comment "forwarding rules" -j KUBE-FORWARD
$iptables -A FORWARD -m conntrack --ctstate NEW -m comment --comment "service portals" -j KUBE-SERVICES
$iptables -A FORWARD -m conntrack --ctstate NEW -m comment --comment "externally visible" -j KUBE-EXTERNAL-SERVICES
$iptables -A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP
$iptables -A KUBE-FORWARD -m comment --comment "forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
$iptables -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$iptables -A KUBE-SERVICES -d 10.96.0.77/32 -p tcp -m comment --comment "shop/web has no endpoints" -m tcp --dport 80 -j REJECT
`

// kubeProxyTables is the table of kube-proxy's nftables mode, as far as it is at the hook.
const kubeProxyTables = `table ip kube-proxy {
	map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.77 . tcp . 80 : goto reject-chain } }
	map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
	set cluster-ips { type ipv4_addr; elements = { 10.96.0.77 } }
	chain reject-chain { reject; }
	chain filter-forward {
		type filter hook forward priority -110; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}
	chain filter-forward-check { type filter hook forward priority -10; ct state invalid drop; jump firewall-check; }
	chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain cluster-ips-check { ip daddr @cluster-ips reject; ip daddr 10.96.0.0/12 drop; }
	chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
}`

// firewalld is what firewalld 1.3 has at the hook, with one interface in its zone, where
// a packet from an interface without a zone goes, too.
func firewalld(zones string) string {
	return `table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24, 2002:a00::/24 } reject with icmpv6 addr-unreachable
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD_ZONES {
		` + zones + `
		iifname "eth0" goto filter_FWD_public
		goto filter_FWD_public
	}
	chain filter_FORWARD_POLICIES_pre { }
	chain filter_FWD_public {
		jump filter_FORWARD_POLICIES_pre
		jump filter_FWD_public_deny
		jump filter_FWD_public_allow
		reject with icmpx admin-prohibited
	}
	chain filter_FWD_public_deny { }
	chain filter_FWD_public_allow { oifname "eth0" accept; }
	chain filter_FWD_trusted { jump filter_FORWARD_POLICIES_pre; accept; }
}`
}

// base is a base chain at the hook.
func base(policy string, rules ...string) string {
	return "table inet other {\n set pods { type ipv4_addr; flags interval; elements = { 10.244.0.0/16 }; }\n" +
		" chain side { accept; }\n chain no { reject; }\n chain forward {\n  type filter hook forward priority 0; policy " + policy + ";\n  " +
		strings.Join(rules, "\n  ") + "\n }\n}"
}

func TestOthersChainsThatLosePackets(t *testing.T) {
	e := open(t, nft.Options{})
	const other = "inet other forward policy:" + every
	for _, test := range []struct {
		name     string
		iptables string // commands for both families, or
		rules    string // for nft
		want     []string
	}{
		{name: "nothing"},
		{name: "a policy that accepts", rules: base("accept", "counter")},
		{name: "a policy that drops", rules: base("drop"), want: []string{other}},
		{name: "a chain of another hook", rules: "table inet other {\n chain input {\n type filter hook input priority 0; policy drop;\n }\n}"},
		{name: "a rule that drops", rules: base("accept", "drop"), want: []string{"inet other forward forward:" + every}},
		{
			name: "a chain that is jumped to rejects", rules: base("accept", "tcp flags & (syn | ack) == syn goto no"),
			want: []string{"inet other forward no:" + every},
		},
		{name: "our interfaces are let pass", rules: base("drop", `iifname "fw*" accept`, `oifname "fw*" accept`)},
		{name: "one of our interfaces is let pass", rules: base("drop", `iifname "fwother" accept`), want: []string{other}},
		{
			name: "one direction is let pass", rules: base("drop", `iifname "fw*" accept`),
			want: []string{"inet other forward policy: eth0>fwpod eth0>fwpod/6"},
		},
		{
			name: "IPv4 is let pass", rules: base("drop", "meta nfproto ipv4 accept"),
			want: []string{"inet other forward policy:" + every6},
		},
		{name: "what is established is let pass", rules: base("drop", "ct state established,related accept"), want: []string{other}},
		{name: "a chain that is jumped to lets pass", rules: base("drop", "jump side")},
		{name: "a chain that is gone to lets pass", rules: base("drop", "goto side")},
		{name: "ranges of pods in a set", rules: base("drop", "ip saddr @pods accept", "ip daddr @pods accept", "meta nfproto ipv6 accept")},
		{name: "a range that ends before", rules: base("drop", "ip saddr 10.243.0.0/16 accept", "ip daddr != 10.244.0.0/15 accept"), want: []string{other}},
		{name: "interfaces in a map", rules: base("drop", `iifname vmap { "eth0" : accept, "fwpod" : jump side }`)},
		{name: "interfaces in pairs", rules: base("drop", `iifname . oifname { "eth0" . "fwpod", "fwpod" . "eth0", "fwpod" . "fwneighbour" } accept`)},
		{name: "an accept before the drop", rules: base("accept", "accept", "drop")},
		{name: "return before the drop", rules: base("accept", "return", "drop")},
		{name: "a drop for others", rules: base("accept", `iifname "eth1" drop`, "tcp dport 22 reject", "meta l4proto udp drop")},
		{name: "a drop that may be for pods", rules: base("accept", "meta mark 7 drop", "limit rate over 5/second drop")},
		{
			name: "an accept that may be for pods", rules: base("drop", "meta mark 7 accept"),
			want: []string{strings.Replace(other, "policy", "policy?", 1)},
		},
		{
			name: "a jump that may be for pods", rules: base("drop", "meta mark 7 jump side"),
			want: []string{strings.Replace(other, "policy", "policy?", 1)},
		},
		{name: "a table that is asleep", rules: strings.Replace(base("drop"), "{", "{\n flags dormant;", 1)},
		{name: "Docker", iptables: docker, want: []string{docker4, docker6}},
		{name: "Docker, and pods are let pass", iptables: docker + "$iptables -I FORWARD -i fw+ -j ACCEPT; $iptables -I FORWARD -o fw+ -j ACCEPT"},
		{name: "Docker, and its users' chain lets pods pass", iptables: docker + "$iptables -I DOCKER-USER -i fw+ -j ACCEPT; $iptables -I DOCKER-USER -o fw+ -j ACCEPT"},
		{name: "ufw", iptables: ufw, want: []string{docker4, docker6}},
		{name: "ufw, and a route is allowed", iptables: ufw + "$iptables -A ufw-user-forward -i fw+ -j ACCEPT; $iptables -A ufw-user-forward -o fw+ -j ACCEPT"},
		{name: "kube-proxy", iptables: strings.ReplaceAll(kubeProxy, "-m nfacct --nfacct-name ct_state_invalid_dropped_pkts ", "")},
		{name: "kube-proxy's nftables", rules: kubeProxyTables},
		{
			name: "firewalld", rules: firewalld(""),
			want: []string{"inet firewalld filter_FORWARD filter_FWD_public: fwpod>fwneighbour eth0>fwpod fwpod>fwneighbour/6 eth0>fwpod/6"},
		},
		{
			name: "firewalld trusts our interfaces", rules: firewalld(`iifname "fw*" goto filter_FWD_trusted`),
			want: []string{"inet firewalld filter_FORWARD filter_FWD_public: eth0>fwpod eth0>fwpod/6"},
		},
		{
			name:  "firewalld trusts the ranges of pods",
			rules: firewalld("ip saddr 10.244.0.0/16 goto filter_FWD_trusted\n\t\tip6 saddr fd00:244::/32 goto filter_FWD_trusted"),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(func() { _, _ = try(context.WithoutCancel(t.Context()), "flush", "ruleset") })
			for _, program := range []string{"iptables", "ip6tables"} {
				if test.iptables != "" {
					commands := test.iptables
					if program == "ip6tables" {
						commands = strings.NewReplacer("-p icmp --icmp-type", "-p icmpv6 --icmpv6-type", "10.96.0.77/32", "fd96::77/128").Replace(commands)
					}
					shell(t, "iptables="+program+"-nft\n"+commands)
				}
			}
			if test.rules != "" {
				shell(t, "nft -f - <<'END'\n"+test.rules+"\nEND")
			}
			if diff := cmp.Diff(append([]string{}, test.want...), blockers(t, e)); diff != "" {
				t.Errorf("blockers (-want +got):\n%s", diff)
			}
		})
	}
}

// Our own tables do lose packets: that is what a policy is for.
func TestTablesOfTheEngineAreNotBlockers(t *testing.T) {
	table := nft.Table{Family: nft.Inet, Name: "own", Chains: []nft.Chain{
		{Name: "forward", Hook: &nft.Hook{Type: nft.Filter, Point: nft.Forward, Drop: true}},
	}}
	e := open(t, nft.Options{}, table)
	commit(t, e)
	t.Cleanup(func() {
		if err := e.Remove(context.WithoutCancel(t.Context()), table.Key()); err != nil {
			t.Error(err)
		}
	})
	if got := blockers(t, e); len(got) > 0 {
		t.Errorf("blockers: %q", got)
	}
	// To another engine it is another's.
	want := []string{"inet own forward policy owned:" + every}
	if got := blockers(t, open(t, nft.Options{})); !slices.Equal(got, want) {
		t.Errorf("blockers: %q, want %q", got, want)
	}
}

// What others have is read again only when they have written, and not all of it if it is much.
func TestManyRulesOfOthersCostLittle(t *testing.T) {
	table := small("beside")
	e := open(t, nft.Options{}, table)
	commit(t, e)
	t.Cleanup(func() { _, _ = try(context.WithoutCancel(t.Context()), "flush", "ruleset") })
	var list strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, "add rule inet other forward ip saddr 198.%d.%d.%d drop\n", i>>16, i>>8&255, i&255)
	}
	shell(t, "nft -f - <<'END'\n"+base("drop")+"\nEND")
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "-f", file)
	ask := func() time.Duration {
		start := time.Now()
		want := []string{"inet other forward policy?:" + every} // one that was not read may accept
		if got := blockers(t, e); !slices.Equal(got, want) {
			t.Fatalf("blockers: %q, want %q", got, want)
		}
		return time.Since(start)
	}
	first := ask()
	t.Logf("10,000 of 100,000 rules are judged in %s", first)
	for _, what := range []string{"nobody has written", "the engine has written"} {
		took := first
		for i := range 5 {
			if what != "nobody has written" {
				submit(t, e, table.Key(), "a", addresses(fmt.Sprintf("10.0.0.%d", i)))
				commit(t, e)
			}
			took = min(took, ask())
		}
		if took > first/5 {
			t.Errorf("%s: it takes %s, and %s the first time", what, took, first)
		}
	}
	// A chain that is read after that one is not judged by what is missing.
	run(t, "add", "table", "ip", "zz")
	run(t, "add", "chain", "ip", "zz", "forward", "{ type filter hook forward priority 1; policy drop; }")
	if got := blockers(t, e); len(got) != 2 {
		t.Errorf("blockers: %q", got)
	}
	run(t, "flush", "chain", "inet", "other", "forward")
	run(t, "add", "rule", "inet", "other", "forward", "accept")
	if got, want := blockers(t, e), []string{"ip zz forward policy:" + every4}; !slices.Equal(got, want) {
		t.Errorf("blockers: %q, want %q", got, want)
	}
}
