package ranges

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/ranges"
)

// The reasons of Problems of Nodes.
const (
	ReasonNoFreeRange   problem.Reason = "NoFreeRange"   // no range is left for the Node
	ReasonRangeRefused  problem.Reason = "RangeRefused"  // the API server does not take the Node's range
	ReasonRangesOverlap problem.Reason = "RangesOverlap" // another Node has addresses of its range
)

// plan is what a pass over the Nodes decides.
type plan struct {
	ledger Ledger
	// added are the Nodes to which a range is newly promised.
	added []string
	// waiting counts the Nodes without a range.
	waiting int
	// later is whether some have to wait until promises are kept.
	later bool
	// problems are by the name of the Node.
	problems map[string][]problem.Problem
}

// decide promises ranges to the Nodes that have none. Refused are the API server's answers,
// by the name of the Node.
func decide(pools ranges.Pools, ledger Ledger, nodes []Node, refused map[string]string) plan {
	p := plan{ledger: ledger, problems: map[string][]problem.Problem{}}
	p.ledger.Promises = ledger.open(nodes)
	state := ranges.State{Last: ledger.Last}
	var asking []string
	var owned []ranges.Owned
	uids := map[string]types.UID{}
	for _, node := range nodes {
		state.Taken = append(state.Taken, node.Ranges...)
		for _, each := range node.Ranges {
			owned = append(owned, ranges.Owned{Node: node.Name, Range: each})
		}
		if node.Served {
			continue
		}
		p.waiting++
		if _, promised := p.ledger.Promises[node.Name]; !promised {
			asking = append(asking, node.Name)
			uids[node.Name] = node.UID
		} else if answer := refused[node.Name]; answer != "" {
			p.tell(node.Name, ReasonRangeRefused, "the API server does not take its range of pods, so no pod can start on it: "+answer)
		}
	}
	for _, promise := range p.ledger.Promises {
		state.Taken = append(state.Taken, promise.Ranges...)
	}
	slices.Sort(asking)
	now := asking[:min(len(asking), maxPromises-min(maxPromises, len(p.ledger.Promises)))]
	p.later = len(now) < len(asking)
	decision := pools.Assign(state, now)
	p.promise(now, decision, uids)
	if len(decision.Full) > 0 {
		for _, name := range asking[len(p.added):] {
			p.tell(name, ReasonNoFreeRange, fmt.Sprintf("no range of addresses is left for its pods in %s, so no pod can start on it: "+
				"remove Nodes that are gone, or name a further range (--pod-cidr)", join(decision.Full)))
		}
	}
	p.overlaps(owned)
	return p
}

// promise adds what was decided to the ledger.
func (p *plan) promise(asking []string, decision ranges.Decision, uids map[string]types.UID) {
	if p.ledger.Promises == nil {
		p.ledger.Promises = map[string]Promise{}
	}
	for _, name := range asking {
		if given, ok := decision.Given[name]; ok {
			p.ledger.Promises[name] = Promise{UID: uids[name], Ranges: given}
			p.added = append(p.added, name)
		}
	}
	p.ledger.Last = decision.Last
}

// overlaps tells each Node of one other.
func (p *plan) overlaps(owned []ranges.Owned) {
	told := map[string]bool{}
	for _, o := range ranges.Overlaps(owned) {
		if told[o.Of.Node] {
			continue
		}
		told[o.Of.Node] = true
		p.tell(o.Of.Node, ReasonRangesOverlap, fmt.Sprintf("its range of pods %s overlaps with %s of Node %s: "+
			"remove one of the two Nodes and let it register again", o.Of.Range, o.With.Range, o.With.Node))
	}
}

func (p *plan) tell(node string, reason problem.Reason, message string) {
	object := problem.Object{Kind: "Node", Name: types.NamespacedName{Name: node}}
	p.problems[node] = append(p.problems[node], problem.Problem{Object: object, Reason: reason, Message: message})
}

// ToldByLeader reports whether a Problem is one that the leader tells, of any Node.
func ToldByLeader(p problem.Problem) bool {
	return slices.Contains([]problem.Reason{ReasonNoFreeRange, ReasonRangeRefused, ReasonRangesOverlap}, p.Reason)
}

func join[T fmt.Stringer](all []T) string {
	var texts []string
	for _, each := range all {
		texts = append(texts, each.String())
	}
	return strings.Join(texts, ", ")
}
