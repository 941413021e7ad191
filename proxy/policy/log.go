//go:build linux

package policy

import "github.com/fairwaynet/fairway/proxy/nft"

// LogGroup is the group to which denied packets are logged.
const LogGroup uint16 = 8479

// logRate and logBurst bound what is logged of a pod, and of a rule of the cluster that denies, for each
// direction and family: packets a second, and at once.
const (
	logRate  = 2
	logBurst = 5
)

// LogPrefix is the prefix of the packets that a pod's policies of a direction have denied.
func LogPrefix(p *Pod, d Direction) string { return p.chain(d) }

// ClusterLogPrefix is the prefix of the packets that a policy of the cluster has denied in a direction.
func ClusterLogPrefix(p *ClusterPolicy, d Direction) string { return p.chain(d) }

// logging is what a rule does that logs a few of the packets it meets.
func logging(prefix string) []nft.Expression {
	return []nft.Expression{nft.Limit{Rate: logRate, Burst: logBurst}, nft.LogTo{Group: LogGroup, Prefix: prefix}}
}

// denial is what happens to packets that none of the pod's policies allows.
func (p *podEntry) denial(d Direction) []nft.Rule {
	var rules []nft.Rule
	if p.logs {
		rules = append(rules, rule(logging(LogPrefix(p.Pod, d))...))
	}
	return append(rules, nft.Rule{Comment: "no policy allows it", Do: nft.Do(nft.Count{Name: Denied(p.Pod, d)}, nft.Drop())})
}
