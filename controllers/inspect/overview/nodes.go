package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

// Node is a node of the pod network.
type Node struct {
	Name  string `json:"name"`
	Agent Agent  `json:"agent"`
	// Status is what the agent wrote last; nil: nothing.
	Status *podnetwork.Status `json:"status,omitempty"`
	// Problems are what is wrong with the node, in sentences.
	Problems []string `json:"problems,omitempty"`

	own int // how many Problems are not from agents of other nodes
}

// Agent is whether a node's agent runs.
type Agent string

// The states of agents.
const (
	AgentReady    Agent = "Ready"
	AgentNotReady Agent = "NotReady"
	AgentMissing  Agent = "Missing"
	AgentUnknown  Agent = "Unknown" // the pods could not be read, or agents are no pods
)

// nodes adds the nodes of the pod network, those that are wrong first. Without a trace of an
// agent in the cluster there is none.
func (o *Overview) nodes(ctx context.Context, reader snapshot.Reader) error {
	nodes, err := reader.Nodes(ctx)
	if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
		o.Unknown = append(o.Unknown, "the pod network of the nodes: "+forbidden.Error())
		return nil
	}
	if err != nil {
		return err
	}
	pods, err := reader.NodeAgents(ctx)
	forbidden := (*snapshot.PermissionError)(nil)
	if err != nil && !errors.As(err, &forbidden) {
		return err
	}
	if len(pods) == 0 && !slices.ContainsFunc(nodes, hasHadAgent) {
		return nil
	}
	switch {
	case forbidden != nil:
		o.Unknown = append(o.Unknown, "whether the agents of nodes run: "+forbidden.Error())
	case len(pods) == 0:
		o.Unknown = append(o.Unknown, "whether the agents of nodes run: no pod is one")
	}
	agents := agentsOf(pods)
	for _, node := range nodes {
		if hasHadAgent(node) || agents[node.Name] != "" || len(pods) > 0 && runsLinux(node) {
			o.Nodes = append(o.Nodes, nodeOf(node, cmp.Or(agents[node.Name], absent(pods))))
		}
	}
	o.blame()
	slices.SortFunc(o.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(min(1, len(b.Problems)), min(1, len(a.Problems))), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

// blame adds what agents say of other nodes to those: all agents of a large cluster may say
// the same of one.
func (o *Overview) blame() {
	said := map[podnetwork.PeerProblem][]string{} // the nodes whose agents say it
	for _, n := range o.Nodes {
		if n.Status == nil {
			continue
		}
		for _, p := range n.Status.PeerProblems {
			said[p] = append(said[p], n.Name)
		}
	}
	for i := range o.Nodes {
		n := &o.Nodes[i]
		for p, by := range said {
			if p.Node == n.Name {
				n.Problems = append(n.Problems, fmt.Sprintf("%s (says %s)", p.Message, strings.Join(short(by), ", ")))
			}
		}
		slices.Sort(n.Problems[n.own:])
	}
}

func hasHadAgent(node *corev1.Node) bool {
	return node.Annotations[podnetwork.FactsAnnotation] != "" || node.Annotations[podnetwork.StatusAnnotation] != ""
}

func runsLinux(node *corev1.Node) bool {
	return cmp.Or(node.Labels[corev1.LabelOSStable], "linux") == "linux"
}

// absent is the state of an agent that has no pod.
func absent(pods []*corev1.Pod) Agent {
	if len(pods) == 0 {
		return AgentUnknown
	}
	return AgentMissing
}

// agentsOf are the states of agents by node. During an upgrade a node can have two pods: the
// better one counts.
func agentsOf(pods []*corev1.Pod) map[string]Agent {
	agents := map[string]Agent{}
	for _, pod := range pods {
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		node := cmp.Or(pod.Spec.NodeName, onlyNode(pod))
		switch {
		case ready:
			agents[node] = AgentReady
		case agents[node] == "":
			agents[node] = AgentNotReady
		}
	}
	return agents
}

// nodeOf judges a node.
func nodeOf(node *corev1.Node, agent Agent) Node {
	n := Node{Name: node.Name, Agent: agent}
	switch agent {
	case AgentMissing:
		n.Problems = append(n.Problems, "no agent runs on it")
	case AgentNotReady:
		n.Problems = append(n.Problems, "its agent is not ready")
	case AgentReady, AgentUnknown:
	}
	status, found, err := podnetwork.ReadStatus(node.Annotations)
	switch {
	case err != nil:
		n.Problems = append(n.Problems, err.Error())
	case found:
		n.Problems = append(n.Problems, status.Problems...)
		status.Problems = nil // once is enough
		n.Status = &status
		for _, each := range status.Ranges {
			if each.Used >= each.Size {
				n.Problems = append(n.Problems, fmt.Sprintf("its range %s is full", each.Range))
			}
		}
	case agent == AgentReady:
		n.Problems = append(n.Problems, "its agent has not told of itself yet")
	}
	n.own = len(n.Problems)
	return n
}

// mostNodes is how many nodes without Problems are shown one by one, and mostProblems how
// many nodes with some.
const (
	mostNodes    = 20
	mostProblems = 50
)

// addNodes adds the nodes as rows of the table: those that are wrong and, of a small
// cluster, all.
func (o *Overview) addNodes(row func(cells ...string)) {
	if len(o.Nodes) == 0 {
		return
	}
	row()
	row("NODE", "AGENT", "VERSION", "ADDRESSES", "MTU", "PEERS")
	for _, n := range o.shown() {
		row(n.row()...)
	}
}

// shown are the nodes that have a row.
func (o *Overview) shown() []Node {
	if len(o.Nodes) <= mostNodes {
		return o.Nodes
	}
	wrong := o.wrong()
	return o.Nodes[:min(wrong, mostProblems)]
}

// wrong is how many nodes have Problems. They come first.
func (o *Overview) wrong() int {
	at := slices.IndexFunc(o.Nodes, func(n Node) bool { return len(n.Problems) == 0 })
	if at < 0 {
		return len(o.Nodes)
	}
	return at
}

func (n Node) row() []string {
	cells := []string{n.Name, strings.ToLower(string(n.Agent)), "-", "-", "-", "-"}
	if n.Agent == AgentNotReady {
		cells[1] = "not ready"
	}
	if s := n.Status; s != nil {
		cells[2] = cmp.Or(s.Version, "-")
		cells[3] = orNone(usages(s.Ranges))
		if s.MTU > 0 {
			cells[4] = fmt.Sprint(s.MTU)
		}
		cells[5] = peers(s.Peers)
	}
	return cells
}

// usages are the ranges with how many of their addresses are used.
func usages(ranges []podnetwork.Usage) []string {
	var all []string
	for _, each := range ranges {
		const countable = 1 << 20 // nobody needs the size of a larger range
		said := fmt.Sprintf("%s %d", each.Range, each.Used)
		if each.Size < countable {
			said += fmt.Sprintf("/%d", each.Size)
		}
		all = append(all, said)
	}
	return all
}

func peers(p podnetwork.Peers) string {
	said := fmt.Sprintf("%d by link, %d by overlay", p.Link, p.Overlay)
	if p.Unreached > 0 {
		said += fmt.Sprintf(", %d not reached", p.Unreached)
	}
	return said
}

// whysOfNodes says a line for each Problem of a node that has a row, and one for the nodes
// that have none.
func (o *Overview) whysOfNodes(say func(format string, args ...any)) {
	shown := o.shown()
	for _, n := range shown {
		for _, problem := range n.Problems {
			say("node %s: %s\n", n.Name, wording.Printable(problem, '\t'))
		}
	}
	if more := o.wrong() - len(shown); more > 0 {
		say("%s more with problems: -o json has all\n", countOf(more, "node", "nodes"))
	}
	if well := len(o.Nodes) - max(o.wrong(), len(shown)); well > 0 {
		say("%s without problems: %s\n", countOf(well, "node", "nodes"), summary(o.Nodes[o.wrong():]))
	}
}

// summary is what nodes have in common.
func summary(nodes []Node) string {
	versions, mtus := map[string]int{}, map[string]int{}
	for _, n := range nodes {
		if s := n.Status; s != nil {
			versions[cmp.Or(s.Version, "unknown")]++
			mtus[fmt.Sprint(s.MTU)]++
		}
	}
	return fmt.Sprintf("version %s; MTU %s", counted(versions), counted(mtus))
}

// counted lists words, the most frequent first, with their numbers if there are several.
func counted(words map[string]int) string {
	var all []string
	for word := range words {
		all = append(all, word)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(words[b], words[a]), cmp.Compare(a, b)) })
	if len(all) > 1 {
		for i, word := range all {
			all[i] = fmt.Sprintf("%s (%d)", word, words[word])
		}
	}
	return orNone(short(all))
}
