package takeover

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// What goes and what stays, by the links of one table: "PREROUTING > KUBE-SERVICES", with what
// a rule looks at behind it.
func TestWithdrawal(t *testing.T) {
	for _, test := range []struct {
		name, table string
		chains      string // beside those in links
		links       []string
		goes, stays string
	}{
		{
			name: "mode iptables", table: "nat", chains: "KUBE-NODEPORTS KUBE-PROXY-CANARY KUBE-KUBELET-CANARY",
			links: []string{
				"PREROUTING > KUBE-SERVICES", "OUTPUT > KUBE-SERVICES", "POSTROUTING > KUBE-POSTROUTING", "PREROUTING > USERS if match addrtype",
				"KUBE-SERVICES > KUBE-SVC-A if meta, cmp, payload, cmp", "KUBE-SVC-A > KUBE-MARK-MASQ if payload, cmp", "KUBE-SVC-A > KUBE-SEP-A if match statistic",
			},
			goes: "KUBE-MARK-MASQ KUBE-NODEPORTS KUBE-POSTROUTING KUBE-PROXY-CANARY KUBE-SEP-A KUBE-SERVICES KUBE-SVC-A; " +
				"PREROUTING > KUBE-SERVICES, OUTPUT > KUBE-SERVICES, POSTROUTING > KUBE-POSTROUTING",
		},
		{
			name: "its filters", table: "filter", chains: "KUBE-FIREWALL",
			links: []string{"INPUT > KUBE-FIREWALL", "FORWARD > KUBE-FORWARD", "FORWARD > KUBE-SERVICES if match conntrack", "OUTPUT > KUBE-SERVICES if ct, bitwise, cmp", "INPUT > KUBE-ROUTER-INPUT"},
			goes:  "KUBE-FORWARD KUBE-SERVICES; FORWARD > KUBE-FORWARD, FORWARD > KUBE-SERVICES, OUTPUT > KUBE-SERVICES",
		},
		{
			name: "mode ipvs", table: "filter", links: []string{"INPUT > KUBE-NODE-PORT", "INPUT > KUBE-IPVS-FILTER", "OUTPUT > KUBE-IPVS-OUT-FILTER"},
			goes: "KUBE-IPVS-FILTER KUBE-IPVS-OUT-FILTER KUBE-NODE-PORT; INPUT > KUBE-NODE-PORT, INPUT > KUBE-IPVS-FILTER, OUTPUT > KUBE-IPVS-OUT-FILTER",
		},
		{
			name: "a chain of users leads there", table: "nat",
			links: []string{"PREROUTING > KUBE-SERVICES", "KUBE-SERVICES > KUBE-SVC-A", "KUBE-SVC-A > KUBE-SEP-A", "KUBE-SVC-B > KUBE-SEP-B", "USERS > KUBE-SVC-A"},
			goes:  "KUBE-SEP-B KUBE-SERVICES KUBE-SVC-B; PREROUTING > KUBE-SERVICES",
			stays: "KUBE-SEP-A KUBE-SVC-A",
		},
		{
			name: "a rule of users leads there under a condition", table: "nat",
			links: []string{"PREROUTING > KUBE-SERVICES if payload, cmp", "OUTPUT > KUBE-SERVICES", "KUBE-SERVICES > KUBE-SVC-A"},
			goes:  "; OUTPUT > KUBE-SERVICES", stays: "KUBE-SERVICES KUBE-SVC-A",
		},
		{
			name: "a mark of users is masqueraded further on", table: "nat",
			links: []string{"POSTROUTING > KUBE-POSTROUTING", "POSTROUTING > USERS", "USERS > KUBE-MARK-MASQ", "KUBE-SERVICES > KUBE-SVC-A", "KUBE-SVC-A > KUBE-MARK-MASQ"},
			goes:  "KUBE-SERVICES KUBE-SVC-A", stays: "KUBE-MARK-MASQ KUBE-POSTROUTING",
		},
		{name: "chains that lead in a circle", table: "nat", links: []string{"KUBE-SVC-A > KUBE-SVC-B", "KUBE-SVC-B > KUBE-SVC-A", "USERS > KUBE-SVC-A"}, stays: "KUBE-SVC-A KUBE-SVC-B"},
		{name: "another table", table: "raw", links: []string{"PREROUTING > KUBE-SERVICES"}},
		{name: "the kubelet's", table: "mangle", chains: "KUBE-IPTABLES-HINT KUBE-KUBELET-CANARY KUBE-PROXY-CANARY", goes: "KUBE-PROXY-CANARY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := nft.TableKey{Family: nft.IPv4, Name: test.table}
			chains := strings.Fields(test.chains)
			var links []nft.Link
			for i, text := range test.links {
				path, condition, _ := strings.Cut(text, " if ")
				from, to, _ := strings.Cut(path, " > ")
				l := nft.Link{Chain: from, To: to, Handle: uint64(i)}
				if condition != "" {
					l.If = strings.Split(condition, ", ")
				}
				links = append(links, l)
				chains = append(chains, from, to)
			}
			w, kept := withdrawal(nft.NewOutline(map[nft.TableKey][]string{k: chains}), map[nft.TableKey][]nft.Link{k: links})
			said := strings.Join(w.Chains[k], " ")
			var taken []string
			for _, l := range w.Links[k] {
				taken = append(taken, fmt.Sprintf("%s > %s", l.Chain, l.To))
			}
			if len(taken) > 0 {
				said += "; " + strings.Join(taken, ", ")
			}
			if diff := cmp.Diff(test.goes, said); diff != "" {
				t.Errorf("goes (-want +got):\n%s", diff)
			}
			var stays []string
			for _, chain := range strings.Fields(test.stays) {
				stays = append(stays, chain+" of table ip "+test.table)
			}
			if diff := cmp.Diff(stays, kept); diff != "" {
				t.Errorf("stays (-want +got):\n%s", diff)
			}
			if empty := test.goes == ""; w.Empty() != empty {
				t.Errorf("empty: %t", w.Empty())
			}
			if slices.ContainsFunc(w.Tables, func(nft.TableKey) bool { return true }) {
				t.Errorf("tables %v go", w.Tables)
			}
		})
	}
}
