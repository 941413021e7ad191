package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/node/policies"
	"github.com/fairwaynet/fairway/proxy/policy"
	"github.com/fairwaynet/fairway/proxy/policy/enforce"
)

// Policies enforces NetworkPolicies for the pods of an Agent's node.
type Policies struct {
	// Connections finds and forgets connections. It is for nobody else.
	Connections enforce.Connections
	// Live asks the API server, and API which kinds it has.
	Live    client.Reader
	API     discovery.DiscoveryInterface
	Metrics *PolicyMetrics
	// LogDenied makes the agent log packets that policies deny, a few a second of each pod.
	LogDenied bool

	agent    *Agent
	enforcer *enforce.Enforcer
	objects  *policies.Objects
	told     bool // that all policies are there
	refused  bool // something was, at the last commit
}

func (p *Policies) prepare(ctx context.Context, a *Agent) error {
	p.agent = a
	p.LogDenied = p.LogDenied && a.canLog(ctx)
	var err error
	p.enforcer, err = enforce.New(enforce.Options{
		Node: string(a.Name), Engine: a.Engine, Connections: p.Connections, Leases: p.leases, Own: addresses,
		Isolated: func(namespaces []string) error { return a.start.isolate(waiting(namespaces)) }, Now: time.Now, Committed: p.committed,
		LogDenied: p.LogDenied,
	})
	if err != nil {
		return err
	}
	p.objects = &policies.Objects{Node: string(a.Name), Cache: a.Cache, Publisher: p.enforcer, Reporter: a.Reporter}
	p.Metrics.enforcer.Store(p.enforcer)
	return p.enforcer.Load()
}

// waiting are the namespaces in the plugin's words.
func waiting(namespaces []string) []string {
	if slices.Contains(namespaces, policy.AllNamespaces) {
		return []string{agent.All}
	}
	return namespaces
}

// leases are those of this boot.
func (p *Policies) leases() ([]enforce.Lease, error) {
	all, _, err := p.agent.leases.All()
	if err != nil {
		return nil, err
	}
	var leases []enforce.Lease
	for _, l := range all {
		if l.Boot == p.agent.boot {
			leases = append(leases, leaseOf(l))
		}
	}
	return leases, nil
}

func leaseOf(l ipam.Lease) enforce.Lease {
	return enforce.Lease{Pod: policy.Key{Namespace: l.Pod.Namespace, Name: l.Pod.Name}, UID: l.Pod.UID, Addresses: l.Addresses}
}

// parts are those of the agent's assembly.
func (p *Policies) parts(objects cache.Cache) []assembly.Part {
	pods, namespaces, all := policies.Pods{Objects: p.objects}, policies.Namespaces{Objects: p.objects}, policies.Policies{Objects: p.objects}
	return []assembly.Part{
		&assembly.Kind[policies.NamespaceKey, labels.Set]{
			Name: "namespace", Builder: namespaces, Reconciler: namespaces, Sources: namespaces.Sources(objects), Publish: namespaces.Publish,
		},
		&assembly.Kind[policies.PodKey, policy.Pod]{
			Name: "pod", Builder: pods, Reconciler: pods, Sources: pods.Sources(objects), Publish: pods.Publish,
		},
		&assembly.Kind[policies.PolicyKey, policy.Policy]{
			Name: "networkpolicy", Builder: all, Reconciler: all, Sources: all.Sources(objects), Publish: all.Publish,
		},
	}
}

// run enforces, once everything was told.
func (p *Policies) run(ctx context.Context) error {
	cluster := &policies.Cluster{Objects: p.objects, API: p.API, Informers: p.agent.Cache, Policies: p.enforcer, Log: p.agent.Log}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return cluster.Run(ctx, p.enforcer.Complete) })
	running.Go(func() error { return p.enforcer.Run(ctx) })
	if p.LogDenied {
		running.Go(func() error {
			p.logDenied(ctx)
			return nil
		})
	}
	return running.Wait()
}

// begin returns when the policies of a pod that is about to begin are in the kernel.
func (p *Policies) begin(ctx context.Context, request agent.Request) error {
	lease, found, err := p.agent.leases.Find(ipam.Key{Container: request.Container, Interface: request.Interface})
	if err != nil {
		return err
	}
	if !found || lease.Pod.UID == "" {
		return nil // a sandbox that is no pod of Kubernetes
	}
	err = p.enforcer.Prepare(ctx, leaseOf(lease), func(ctx context.Context) (bool, error) { return p.exists(ctx, lease.Pod) })
	if errors.Is(err, enforce.ErrReplaced) {
		return &agent.RefusedError{Outcome: agent.Replaced, Why: fmt.Sprintf("the API server has another pod than %s with UID %s, or none", lease.Pod, lease.Pod.UID)}
	}
	return err
}

// exists asks the API server whether it has a pod with its UID.
func (p *Policies) exists(ctx context.Context, pod ipam.Pod) (bool, error) {
	var object corev1.Pod
	err := p.Live.Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, &object)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return policy.Is(&object, pod.UID), nil
}

// Keys of the reporter.
type (
	policiesKey struct{} // what keeps all policies from being written
	refusalKey  struct{} // what keeps some from it
)

// ReasonPolicyRefused says that the kernel does not take what a policy or a pod needs.
const ReasonPolicyRefused problem.Reason = "PolicyRefused"

// committed hears of a commit.
func (p *Policies) committed(ctx context.Context, r enforce.Report) {
	a := p.agent
	var problems []problem.Problem
	if r.Err != nil {
		a.Log.Error(r.Err, "enforce policies")
		problems = append(problems, a.problem(ReasonKernel, r.Err.Error()))
	} else if !p.told {
		p.told = true
		a.keeper.Wake() // pods may wait for it
	}
	a.Reporter.Report(ctx, policiesKey{}, problems)
	problems = nil
	for what, err := range r.Refused {
		a.Log.Error(err, "the kernel refuses what a policy needs, which is left as it was", "what", what)
		problems = append(problems, a.problem(ReasonPolicyRefused, fmt.Sprintf("%s: %v", what, err)))
	}
	if len(r.Refused) > 0 || p.refused {
		a.Reporter.Report(ctx, refusalKey{}, problems)
	}
	p.refused = len(r.Refused) > 0
	p.Metrics.committed(r)
}
