package takeover

import (
	"fmt"
	"strings"
)

// Address is where a kube-proxy of this node tells whether it is healthy, unless it is told
// to do so elsewhere.
const Address = "127.0.0.1:10256"

// The commands that people can run.
const (
	deleted = "kubectl -n kube-system delete daemonset kube-proxy"
	cleaned = "kube-proxy --cleanup"
)

// refuses says why nothing is written, and the two ways out.
func refuses(f Found) string {
	return fmt.Sprintf("kube-proxy serves the Services of this node (%s), so Fairway does not, and its agent is not ready. "+
		"Either remove kube-proxy (%s), then run %s on this node or reboot it; or set --adopt, and Fairway takes over without a gap",
		evidence(f), deleted, cleaned)
}

// beside is for a node that Fairway serves, and on which kube-proxy has come back.
func beside(f Found) string {
	return fmt.Sprintf("kube-proxy is on this node, too (%s). Fairway goes on serving Services, and comes first. "+
		"Remove kube-proxy (%s), then run %s on this node or reboot it; or set --adopt, and Fairway removes what it leaves",
		evidence(f), deleted, cleaned)
}

func runs() string {
	return fmt.Sprintf("Fairway serves the Services of this node, and kube-proxy still runs: it answers at %s. "+
		"Remove it (%s), and Fairway removes its rules", Address, deleted)
}

func returns() string {
	return fmt.Sprintf("Fairway has removed the rules of kube-proxy on this node, and they have come back: something still writes them. "+
		"Remove kube-proxy (%s), also where it is part of another program. Fairway removes its rules at most once a minute", deleted)
}

// remains says what is left that Fairway does not remove, and how people do; empty: nothing.
func remains(f Found) string {
	var all []string
	if f.IPVS {
		all = append(all, fmt.Sprintf("it has left its IPVS services, and interface %s that has the addresses of Services: run %s on this node or reboot it", Dummy, cleaned))
	}
	if len(f.Legacy) > 0 {
		all = append(all, fmt.Sprintf("it has left rules of %s: run %s on this node, with that iptables, or reboot it", strings.Join(f.Legacy, " and "), cleaned))
	}
	if len(f.Kept) > 0 {
		all = append(all, fmt.Sprintf("rules of others lead to its chains %s, so they stay: change these rules, or reboot the node if nothing makes them again", strings.Join(f.Kept, ", ")))
	}
	if len(all) == 0 {
		return ""
	}
	return "Fairway serves the Services of this node, and does not remove all of kube-proxy: " + strings.Join(all, "; ")
}

// evidence is what was found of a kube-proxy.
func evidence(f Found) string {
	var all []string
	if f.Answers {
		all = append(all, "it answers at "+Address)
	}
	if len(f.Nftables) > 0 {
		all = append(all, "nftables "+plural(f.Nftables))
	}
	if len(f.Iptables) > 0 {
		all = append(all, "its chains in nftables "+plural(f.Iptables)+" of iptables")
	}
	if f.IPVS {
		all = append(all, "interface "+Dummy+" of IPVS")
	}
	if len(f.Legacy) > 0 {
		all = append(all, "its chains of "+strings.Join(f.Legacy, " and "))
	}
	return strings.Join(all, "; ")
}

func plural(tables []string) string {
	if len(tables) == 1 {
		return "table " + tables[0]
	}
	return "tables " + strings.Join(tables, ", ")
}
