package connection

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/policies"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// judge asks the policies of both ends. A Book judges for the pods of its node alone: for the sender's
// Book that is the sender, and for the receivers' everybody else.
type judge struct {
	from              *corev1.Pod
	sender, receivers *policy.Book
	nodes             map[netip.Addr]string            // by an address of a node that pods have
	wrong             map[policy.Key][]problem.Problem // of policies; those of the cluster have no namespace
	met               map[policy.Key]bool              // policies that isolate one of the ends, or were asked
}

// judged is the node of both Books.
const judged = "judged"

func newJudge(o Objects, from *corev1.Pod) *judge {
	j := &judge{
		from: from, sender: policy.NewBook(judged), receivers: policy.NewBook(judged),
		nodes: map[netip.Addr]string{}, wrong: map[policy.Key][]problem.Problem{}, met: map[policy.Key]bool{},
	}
	for _, n := range o.Namespaces {
		has := labels.Set(n.Labels)
		if has == nil {
			has = labels.Set{} // nil: there is no such namespace
		}
		j.sender.SetNamespace(n.Name, has)
		j.receivers.SetNamespace(n.Name, has)
	}
	for _, object := range o.Pods {
		name := nameOf(object)
		p := policy.PodOf(object)
		if p == nil {
			j.noteNode(object)
			continue
		}
		here, there := *p, *p
		here.Node, there.Node = judged, ""
		if name == nameOf(from) {
			j.sender.SetPod(name, &here)
			j.receivers.SetPod(name, &there)
		} else {
			j.sender.SetPod(name, &there)
			j.receivers.SetPod(name, &here)
		}
	}
	for _, np := range o.Policies {
		parsed, wrong := policy.Parse(np)
		j.wrong[parsed.Name] = wrong
		j.sender.SetPolicy(parsed.Name, parsed)
		j.receivers.SetPolicy(parsed.Name, parsed)
	}
	for _, np := range o.Cluster {
		parsed, wrong := policy.ParseCluster(np)
		j.wrong[policy.Key{Name: np.Name}] = wrong
		j.sender.SetCluster(np.Name, parsed)
		j.receivers.SetCluster(np.Name, parsed)
	}
	return j
}

func nameOf(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// noteNode notes the addresses of a node, which pods of the host's network have.
func (j *judge) noteNode(p *corev1.Pod) {
	if !p.Spec.HostNetwork {
		return
	}
	for _, a := range policy.Addresses(p) {
		j.nodes[a] = p.Spec.NodeName
	}
}

// endpoint judges a connection to an address; node is where its pod runs, if it has one.
func (j *judge) endpoint(f policy.Flow, node string) Endpoint {
	e := Endpoint{Address: netip.AddrPortFrom(f.To, f.Port)}
	owner := j.receivers.Owner(f.To)
	if owner != nil {
		e.Pod = owner.Name.String()
	}
	switch exempt := policies.Exempt(j.from); {
	case exempt != "":
		e.Egress = Verdict{Allowed: true, Why: "no policy applies to the sender: " + exempt}
	case f.From == f.To:
		e.Egress = Verdict{Allowed: true, Why: "a pod reaches itself, whatever policies say"}
	default:
		e.Egress = j.verdict(j.sender.Judge(f), policy.Egress)
	}
	switch {
	case f.From == f.To:
		e.Ingress = Verdict{Allowed: true, Why: "a pod reaches itself, whatever policies say"}
	case owner == nil && j.nodes[f.To] != "":
		e.Ingress = Verdict{Allowed: true, Why: fmt.Sprintf("it is an address of node %s, to which no policy applies", j.nodes[f.To])}
	case owner == nil:
		e.Ingress = Verdict{Allowed: true, Why: "no pod has the address"}
	case j.from.Spec.HostNetwork && node == j.from.Spec.NodeName:
		e.Ingress = Verdict{Allowed: true, Why: "a pod's own node reaches it, whatever policies say"}
	default:
		e.Ingress = j.verdict(j.receivers.Judge(f), policy.Ingress)
	}
	e.Allowed = e.Egress.Allowed && e.Ingress.Allowed
	return e
}

// verdict puts what a Book says into words.
func (j *judge) verdict(v policy.Verdict, d policy.Direction) Verdict {
	for _, name := range v.Policies {
		j.met[name] = true
	}
	for _, asked := range v.Cluster[d] {
		j.met[policy.Key{Name: asked.Name}] = true
	}
	said := Verdict{Allowed: !v.Denied, Policies: textsOf(v.Policies), Cluster: matching(v.Cluster[d], d)}
	var why []string
	for _, rule := range said.Cluster {
		why = append(why, rule.String())
	}
	by := v.Allowed[d]
	switch decides := decisive(said.Cluster); {
	case len(v.Policies) > 0:
		why = append(why, denial(said.Policies))
	case by != policy.Key{}:
		j.met[by] = true
		said.By = by.String()
		why = append(why, fmt.Sprintf("NetworkPolicy %s allows it", by))
	case decides == nil:
		why = append(why, "no policy isolates the pod")
	case !v.Denied:
		said.By = decides.Policy
	}
	said.Why = strings.Join(why, ", and ")
	return said
}

func textsOf(names []policy.Key) []string {
	var all []string
	for _, name := range names {
		all = append(all, name.String())
	}
	return all
}

// denial says why policies that isolate a pod deny a connection.
func denial(names []string) string {
	if len(names) == 1 {
		return fmt.Sprintf("NetworkPolicy %s isolates the pod, and no rule of it allows it", names[0])
	}
	most := len(names) - 1
	return fmt.Sprintf("NetworkPolicies %s and %s isolate the pod, and none of their rules allows it", strings.Join(names[:most], ", "), names[most])
}

// problems are those of the policies that isolate one of the ends, or were asked.
func (j *judge) problems() []problem.Problem {
	var all []problem.Problem
	for name := range j.met {
		all = append(all, j.wrong[name]...)
	}
	slices.SortStableFunc(all, problem.Compare)
	return all
}
