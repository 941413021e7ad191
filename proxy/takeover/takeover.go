// Package takeover decides what becomes of the Services of a node on which kube-proxy is, or
// was.
//
// Both can be there: the tables of package service come before those of kube-proxy, and the
// first that translates a connection wins. Two that serve at once are a mistake all the same,
// unless somebody wants to go from one to the other. Decide says what to do about what was
// found, and withdrawal which of kube-proxy's rules go; both are pure. A Node finds and
// removes. Its invariants: nothing that others have made is touched, and nothing of kube-proxy
// while it runs.
package takeover

import (
	"time"

	"github.com/fairwaynet/fairway/api/problem"
)

// Found is what a node has of kube-proxy.
type Found struct {
	// Answers says that a kube-proxy runs: it answers at Address.
	Answers bool
	// Nftables are the tables of its mode nftables, such as "ip kube-proxy", and Iptables
	// those of iptables-nft that lead packets to chains of its other modes, such as "ip nat".
	Nftables, Iptables []string
	// Rest says that some of these, or other chains of kube-proxy, can be removed.
	Rest bool
	// Kept are chains of kube-proxy that stay, because rules of others lead to them.
	Kept []string
	// IPVS says that the node has the interface of its mode ipvs.
	IPVS bool
	// Legacy are the programs with which alone its rules can be removed, such as
	// "iptables-legacy".
	Legacy []string
}

// serves says whether connections to Services could go by kube-proxy.
func (f Found) serves() bool {
	return f.Answers || len(f.Nftables) > 0 || len(f.Iptables) > 0 || f.IPVS || len(f.Legacy) > 0
}

// leads says whether rules that can be removed could lead connections.
func (f Found) leads() bool { return f.Rest && len(f.Nftables)+len(f.Iptables) > 0 }

// State is what a decision depends on beside what was found.
type State struct {
	// Adopt says that Fairway takes over.
	Adopt bool
	// Serving says that the kernel has Services of Fairway, from this process or from an
	// earlier one.
	Serving bool
	// Written says that this process has written all of them.
	Written bool
	// Removed is when kube-proxy's rules were removed last; zero: never. Returned says that
	// they had come back since an earlier removal.
	Removed  time.Time
	Returned bool
	Now      time.Time
}

// Decision is what to do.
type Decision struct {
	Write    bool // Services into the kernel
	Remove   bool // what kube-proxy has left
	Problems []Finding
}

// Finding is a Problem of the node.
type Finding struct {
	Reason  problem.Reason
	Message string
}

// Reasons of Findings.
const (
	// ReasonPresent says that kube-proxy is on the node, too.
	ReasonPresent problem.Reason = "KubeProxyPresent"
	// ReasonRemains says that kube-proxy has left what Fairway does not remove.
	ReasonRemains problem.Reason = "KubeProxyRemains"
)

// Rules that come back are removed at most once in removals, and the Problem that tells of
// them stays for told after that.
const (
	removals = time.Minute
	told     = 5 * time.Minute
)

// Decide says what to do about what was found.
func Decide(f Found, s State) Decision {
	if !s.Adopt && !s.Serving && f.serves() {
		return Decision{Problems: []Finding{{ReasonPresent, refuses(f)}}}
	}
	d := Decision{Write: true}
	if !s.Adopt {
		if f.serves() {
			d.Problems = append(d.Problems, Finding{ReasonPresent, beside(f)})
		}
		return d
	}
	back := f.leads() && !s.Removed.IsZero()
	switch {
	case f.Answers:
		d.Problems = append(d.Problems, Finding{ReasonPresent, runs()})
	case back || s.Returned && s.Now.Sub(s.Removed) < told:
		d.Problems = append(d.Problems, Finding{ReasonPresent, returns()})
	}
	d.Remove = f.Rest && s.Written && !f.Answers && (!back || s.Now.Sub(s.Removed) >= removals)
	if message := remains(f); message != "" {
		d.Problems = append(d.Problems, Finding{ReasonRemains, message})
	}
	return d
}
