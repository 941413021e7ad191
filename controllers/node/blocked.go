package node

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/controllers/node/network"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// ReasonBlocked says that a chain of somebody else's firewall loses pods' packets.
const ReasonBlocked problem.Reason = "ForwardingBlocked"

// blocked says which chain loses which packets, and how its owner lets them pass.
func blocked(b nft.Blocker) string {
	by := "by its policy"
	if b.At != "" {
		by = "by a rule in chain " + b.At
	}
	if b.At == b.Chain {
		by = "by a rule"
	}
	unless := ""
	if b.Doubtful {
		unless = ", unless a rule that Fairway cannot judge lets them pass"
	}
	return fmt.Sprintf("chain %s of nftables table %s drops %s of pods %s%s: %s. What one table accepts another can drop, and Fairway changes nothing of others. %s",
		b.Chain, b.Table, kindOf(b.Lost), by, unless, directions(b.Lost), advice(b))
}

// advice ends with commands that can be run as they are, if there are some.
func advice(b nft.Blocker) string {
	commands := allow(b)
	switch {
	case b.Owned:
		return "Only the program that made the table can change it: tell it to accept what comes from, and what goes to, interfaces " + rules.Wires + "*"
	case len(commands) == 0:
		return "Accept there what comes from, and what goes to, interfaces " + rules.Wires + "*"
	default:
		return "To let pods through, run on this node: " + strings.Join(commands, "; ")
	}
}

// kindOf is "IPv4 packets", "IPv6 packets" or "packets".
func kindOf(lost []nft.Packet) string {
	is6 := func(p nft.Packet) bool { return p.From.Is6() }
	switch six := slices.ContainsFunc(lost, is6); {
	case !six:
		return "IPv4 packets"
	case !slices.ContainsFunc(lost, func(p nft.Packet) bool { return !is6(p) }):
		return "IPv6 packets"
	default:
		return "packets"
	}
}

// mostDirections leaves room for the commands in an event.
const mostDirections = 6

// directions is "pods to pods, pods to eth0, eth0 to pods", as far as packets are lost.
func directions(lost []nft.Packet) string {
	end := func(name string) string {
		if strings.HasPrefix(name, rules.Wires) && name != network.OverlayName {
			return "pods"
		}
		return name
	}
	var all []string
	for _, p := range lost {
		if text := end(p.In) + " to " + end(p.Out); !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if more := len(all) - mostDirections; more > 0 {
		all = append(all[:mostDirections], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// plain is a name that a shell and nft take as it is.
var plain = regexp.MustCompile(`^[A-Za-z_.][A-Za-z0-9/_.-]*$`)

// allow are the commands that let pods through a chain: first in it, before what drops.
func allow(b nft.Blocker) []string {
	if !plain.MatchString(b.Table.Name) || !plain.MatchString(b.Chain) {
		return nil
	}
	if command := iptables(b); command != "" {
		return []string{
			fmt.Sprintf("%s -I %s -i %s+ -j ACCEPT", command, b.Chain, rules.Wires),
			fmt.Sprintf("%s -I %s -o %s+ -j ACCEPT", command, b.Chain, rules.Wires),
		}
	}
	insert := fmt.Sprintf("nft insert rule %s %s", b.Table, b.Chain)
	return []string{
		fmt.Sprintf(`%s iifname "%s*" accept`, insert, rules.Wires),
		fmt.Sprintf(`%s oifname "%s*" accept`, insert, rules.Wires),
	}
}

// iptables is how iptables is called for a chain that is one of its own; otherwise empty.
// It makes the chain under this name, at this priority, and takes one that is equal as its own.
func iptables(b nft.Blocker) string {
	program := map[nft.Family]string{nft.IPv4: "iptables", nft.IPv6: "ip6tables"}[b.Table.Family]
	priority, known := map[string]int32{"filter": 0, "mangle": -150, "security": 50}[b.Table.Name]
	switch {
	case program == "" || !known || b.Chain != "FORWARD" || b.Priority != priority:
		return ""
	case b.Table.Name == "filter":
		return program
	default:
		return program + " -t " + b.Table.Name
	}
}
