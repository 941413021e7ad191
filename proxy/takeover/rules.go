package takeover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// nftables is the name of kube-proxy's own tables.
const nftables = "kube-proxy"

// The tables of iptables-nft in which kube-proxy makes chains.
const (
	natTable    = "nat"
	filterTable = "filter"
	mangleTable = "mangle"
)

func families() []nft.Family { return []nft.Family{nft.IPv4, nft.IPv6} }

// ownTables are the tables that are kube-proxy's alone, and sharedTables those in which it
// has chains beside others'.
func ownTables() (all []nft.TableKey) {
	for _, f := range families() {
		all = append(all, nft.TableKey{Family: f, Name: nftables})
	}
	return all
}

func sharedTables() (all []nft.TableKey) {
	for _, f := range families() {
		for _, name := range []string{natTable, filterTable, mangleTable} {
			all = append(all, nft.TableKey{Family: f, Name: name})
		}
	}
	return all
}

// Chains of kube-proxy that others use, too.
const (
	markMasquerade = "KUBE-MARK-MASQ"
	postrouting    = "KUBE-POSTROUTING"
)

// hooked are kube-proxy's chains that its own rules in the chains of iptables lead to, by the
// table, and which chains these are. The sources of the modes iptables and ipvs have the list
// as iptablesJumpChains.
var hooked = map[string]map[string][]string{
	natTable: {
		"KUBE-SERVICES":  {"PREROUTING", "OUTPUT"},
		postrouting:      {"POSTROUTING"},
		"KUBE-NODEPORTS": nil,
	},
	filterTable: {
		"KUBE-SERVICES":          {"FORWARD", "OUTPUT", "INPUT"},
		"KUBE-EXTERNAL-SERVICES": {"INPUT", "FORWARD"},
		"KUBE-NODEPORTS":         {"INPUT"},
		"KUBE-FORWARD":           {"FORWARD"},
		"KUBE-PROXY-FIREWALL":    {"INPUT", "OUTPUT", "FORWARD"},
		"KUBE-NODE-PORT":         {"INPUT"},
		"KUBE-IPVS-FILTER":       {"INPUT"},
		"KUBE-IPVS-OUT-FILTER":   {"OUTPUT"},
	},
}

// unhooked are the other chains of kube-proxy, by the table.
var unhooked = map[string][]string{
	natTable:    {markMasquerade, "KUBE-PROXY-CANARY", "KUBE-LOAD-BALANCER", "KUBE-NODE-PORT"},
	filterTable: {"KUBE-PROXY-CANARY", "KUBE-SOURCE-RANGES-FIREWALL"},
	mangleTable: {"KUBE-PROXY-CANARY"},
}

// ofService says whether a chain is one that kube-proxy makes for a Service or an endpoint.
func ofService(chain string) bool {
	return slices.ContainsFunc([]string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"},
		func(prefix string) bool { return strings.HasPrefix(chain, prefix) })
}

// serves says whether a chain of a table leads packets to Services. Chains of kube-proxy that
// do nothing unless others lead to them do not, such as the two by which a mark means
// masquerade.
func serves(k nft.TableKey, chain string) bool {
	_, is := hooked[k.Name][chain]
	return is && chain != postrouting || k.Name == natTable && ofService(chain)
}

// proxys says whether a chain is kube-proxy's. Chains of the kubelet are not, such as
// KUBE-FIREWALL, nor are those of network policies, such as KUBE-ROUTER-FORWARD.
func proxys(k nft.TableKey, chain string) bool {
	return serves(k, chain) || k.Name == natTable && chain == postrouting || slices.Contains(unhooked[k.Name], chain)
}

// hooks says whether a link is a rule by which kube-proxy leads packets to its chains: to
// them, from where it does so, and with no further condition than that the connection is new.
func hooks(k nft.TableKey, l nft.Link) bool {
	ofNew := []string{"match conntrack", "match comment", "ct", "bitwise", "cmp"}
	return slices.Contains(hooked[k.Name][l.To], l.Chain) &&
		!slices.ContainsFunc(l.If, func(condition string) bool { return !slices.Contains(ofNew, condition) })
}

// withdrawal is what of kube-proxy goes from the tables of an outline, and which of its chains
// stay, since links of others lead to them. Links are those of the shared tables.
func withdrawal(o nft.Outline, links map[nft.TableKey][]nft.Link) (nft.Withdrawal, []string) {
	w := nft.Withdrawal{Links: map[nft.TableKey][]nft.Link{}, Chains: map[nft.TableKey][]string{}}
	for _, k := range ownTables() {
		if o.Has(k, "") {
			w.Tables = append(w.Tables, k)
		}
	}
	var stay []string
	for _, k := range sharedTables() {
		kept := keep(o, k, links[k])
		for _, l := range links[k] {
			if hooks(k, l) && !(l.To == postrouting && kept[postrouting]) {
				w.Links[k] = append(w.Links[k], l)
			}
		}
		for _, chain := range o.Chains(k) {
			switch {
			case !proxys(k, chain):
			case kept[chain]:
				stay = append(stay, named(chain, k))
			default:
				w.Chains[k] = append(w.Chains[k], chain)
			}
		}
	}
	return w, stay
}

func named(chain string, k nft.TableKey) string { return fmt.Sprintf("%s of table %s", chain, k) }

// keep returns the chains of kube-proxy that stay in a table: those that others lead to, and
// all that these lead to. The mark of KUBE-MARK-MASQ has its effect in KUBE-POSTROUTING, which
// then stays, too.
func keep(o nft.Outline, k nft.TableKey, links []nft.Link) map[string]bool {
	kept := map[string]bool{}
	to := map[string][]string{}
	var open []string
	for _, l := range links {
		switch {
		case !proxys(k, l.To):
		case proxys(k, l.Chain):
			to[l.Chain] = append(to[l.Chain], l.To)
		case !hooks(k, l):
			open = append(open, l.To)
		}
	}
	for len(open) > 0 {
		chain := open[len(open)-1]
		open = open[:len(open)-1]
		if kept[chain] {
			continue
		}
		kept[chain] = true
		open = append(open, to[chain]...)
		if chain == markMasquerade && o.Has(k, postrouting) {
			open = append(open, postrouting)
		}
	}
	return kept
}
