//go:build linux

package policy

import "github.com/fairwaynet/fairway/proxy/nft"

// LogGroup is the group to which denied packets are logged.
const LogGroup uint16 = 8479

// logRate and logBurst bound what is logged of a pod, for each direction and family: packets a second, and
// at once.
const (
	logRate  = 2
	logBurst = 5
)

// LogPrefix is the prefix of the packets that a pod's policies of a direction have denied.
func LogPrefix(p *Pod, d Direction) string { return p.chain(d) }

// denial is what happens to packets that none of the pod's policies allows.
func (p *podEntry) denial(d Direction) []nft.Rule {
	var rules []nft.Rule
	if p.logs {
		rules = append(rules, rule(nft.Limit{Rate: logRate, Burst: logBurst}, nft.LogTo{Group: LogGroup, Prefix: LogPrefix(p.Pod, d)}))
	}
	return append(rules, nft.Rule{Comment: "no policy allows it", Do: nft.Do(nft.Count{Name: Denied(p.Pod, d)}, nft.Drop())})
}
