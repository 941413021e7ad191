package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/node/services"
	"github.com/fairwaynet/fairway/proxy/healthcheck"
	"github.com/fairwaynet/fairway/proxy/keeper"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/proxy/service"
)

// Services keeps the Services of an Agent's node.
type Services struct {
	services.Config

	// Connections forgets connections. It is for nobody else.
	Connections keeper.Connections
	// HealthAddress is where load balancers ask for the node; empty: nowhere.
	HealthAddress string
	// Adopt takes over from a kube-proxy that is on the node, and removes what it leaves.
	Adopt bool
	// Live asks the API server.
	Live    client.Reader
	Metrics *ServiceMetrics

	agent    *Agent
	allowed  chan struct{} // closed when Services may be written
	keeper   *keeper.Keeper
	services *services.Reconciler
	cluster  *services.Cluster
	health   healthcheck.Server
	node     healthcheck.Node
	ports    *portWatch
	compared *services.Comparison
	begun    bool

	mu        sync.Mutex // of balancers, and of keeper while it is made
	balancers service.Balancers
}

// Reasons of Problems of Services.
const (
	// ReasonAddressTaken says that an older Service has an address and port.
	ReasonAddressTaken problem.Reason = "AddressTaken"
	// ReasonHealthCheckPort says that nothing can be answered at a healthCheckNodePort.
	ReasonHealthCheckPort problem.Reason = "HealthCheckPortTaken"
	// ReasonServicesOutOfDate says that a node does not serve what the API server has.
	ReasonServicesOutOfDate problem.Reason = "ServicesOutOfDate"
)

func (s *Services) prepare(a *Agent) error {
	s.agent, s.allowed = a, make(chan struct{})
	s.health.Failed, s.health.Healthy = s.healthFailed, s.node.Healthy
	s.node.Now = time.Now
	made, err := keeper.New(keeper.Options{
		Engine: a.Engine, Connections: s.Connections, Health: &s.health, Now: time.Now, Committed: s.committed,
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.keeper = made
	if s.balancers != nil { // told before the keeper was there
		made.PublishBalancers(s.balancers)
	}
	s.mu.Unlock()
	s.services = &services.Reconciler{
		Config: s.Config, Node: string(a.Name), Objects: a.Cache, Publisher: queue{s.keeper, s.Metrics}, Reporter: a.Reporter,
	}
	s.cluster = &services.Cluster{Reconciler: s.services, Addresses: addresses}
	s.ports = newPortWatch(a, s.keeper)
	s.compared = &services.Comparison{
		Reconciler: s.services, Live: s.Live, Published: s.keeper.Published,
		Suspected: s.Metrics.suspected, Compared: s.outOfDate,
	}
	return nil
}

// PublishBalancers says in which ranges addresses of load balancers are from now on.
func (s *Services) PublishBalancers(all []loadbalancer.Range) {
	ranges := make(service.Balancers, len(all))
	for i, r := range all {
		ranges[i] = [2]netip.Addr{r.First, r.Last}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.balancers = ranges; s.keeper != nil {
		s.keeper.PublishBalancers(ranges)
	}
}

// addresses are those of the node's interfaces.
func addresses() ([]netip.Addr, error) {
	interfaces, err := link.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, each := range interfaces {
		for _, network := range each.Networks {
			all = append(all, network.Addr())
		}
	}
	return all, nil
}

// parts are those of the agent's assembly.
func (s *Services) parts(objects cache.Cache) []assembly.Part {
	return []assembly.Part{
		&assembly.Kind[services.Key, service.Service]{
			Name: "service", Builder: s.services, Reconciler: s.services, Sources: s.services.Sources(objects), Publish: s.services.Publish,
		},
		&assembly.Kind[services.NodeKey, service.Cluster]{
			Name: "cluster", Builder: s.cluster, Reconciler: s.cluster, Sources: s.cluster.Sources(objects), Publish: s.cluster.Publish,
		},
	}
}

// beside are what runs as long as the reconcilers.
func (s *Services) beside() []func(context.Context) error {
	return []func(context.Context) error{s.keeper.Run, s.serveNode, s.watchKubeProxy, s.liberal, s.ports.run, s.compared.Run, func(ctx context.Context) error {
		<-ctx.Done()
		s.health.Close()
		return nil
	}}
}

// serveNode tells load balancers whether the node takes connections, from when it does: the
// address is that of kube-proxy, too.
func (s *Services) serveNode(ctx context.Context) error {
	if s.HealthAddress == "" {
		return nil
	}
	select {
	case <-s.allowed:
	case <-ctx.Done():
		return nil
	}
	return s.node.Serve(ctx, s.HealthAddress, func(err error) {
		s.agent.Log.Info("load balancers are not told of this node yet", "reason", err.Error())
	})
}

// liberal keeps the setting by which segments out of their connection's window are translated.
func (s *Services) liberal(ctx context.Context) error {
	const interval = 5 * time.Second
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for known := false; ; {
		changed, err := link.LiberalConntrack()
		var problems []problem.Problem
		switch {
		case errors.Is(err, link.ErrNoConntrack): // before the first commit
		case err != nil:
			problems = append(problems, s.agent.problem(ReasonKernel, err.Error()))
		case known && len(changed) > 0:
			s.agent.mended(ctx, changed)
		default:
			known = true
		}
		s.agent.Reporter.Report(ctx, liberalKey{}, problems)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Keys of the reporter.
type (
	liberalKey struct{}                       // what keeps a setting from being kept
	proxyKey   struct{}                       // what keeps all Services from being written
	refusedKey struct{ types.NamespacedName } // what keeps one from it
	lacksKey   struct{ types.NamespacedName } // what another has
	healthKey  struct{ types.NamespacedName }
	compareKey struct{} // what is not served as the API server has it
)

// committed hears of a commit of the keeper.
func (s *Services) committed(ctx context.Context, r keeper.Report) {
	a := s.agent
	var problems []problem.Problem
	if r.Err == nil {
		a.written.Store(true)
		s.node.Committed(r.Cluster.Leaving)
	} else {
		s.node.Failed()
		a.Log.Error(r.Err, "keep Services")
		problems = append(problems, a.problem(ReasonKernel, r.Err.Error()))
	}
	a.Reporter.Report(ctx, proxyKey{}, problems)
	for name := range r.Services {
		problems = nil
		if err := r.Refused[name]; err != nil {
			a.Log.Error(err, "the kernel refuses a Service, which is left as it was", "service", name)
			problems = append(problems, of(name, ReasonKernel, fmt.Sprintf("node %s serves it as it was before: %v", a.Name, err)))
		}
		a.Reporter.Report(ctx, refusedKey{name}, problems)
		problems = nil
		for front, holder := range r.Lacks[name] {
			problems = append(problems, of(name, ReasonAddressTaken, fmt.Sprintf("%s leads to Service %s, which is older", front, holder)))
		}
		a.Reporter.Report(ctx, lacksKey{name}, problems)
	}
	s.Metrics.committed(r, time.Now())
	s.ports.wake()
	if r.Err == nil && a.WithoutPods && !s.begun {
		s.begun = true
		a.Log.Info("Services are served")
		a.Complete()
	}
}

// outOfDate hears of a comparison with the API server.
func (s *Services) outOfDate(ctx context.Context, differences []services.Difference, err error) {
	s.Metrics.compared(len(differences), err)
	if err != nil {
		s.agent.Log.V(1).Info("no comparison with the API server this time", "reason", err.Error())
		return
	}
	var problems []problem.Problem
	if len(differences) > 0 {
		problems = append(problems, s.agent.problem(ReasonServicesOutOfDate, fmt.Sprintf(
			"the agent has missed changes, and starts afresh: %s", services.Describe(differences))))
	}
	s.agent.Reporter.Report(ctx, compareKey{}, problems)
}

func (s *Services) healthFailed(name types.NamespacedName, err error) {
	var problems []problem.Problem
	if err != nil {
		problems = append(problems, of(name, ReasonHealthCheckPort, fmt.Sprintf(
			"node %s cannot tell load balancers of its endpoints: %v", s.agent.Name, err)))
	}
	s.agent.Reporter.Report(context.Background(), healthKey{name}, problems)
}

// of is a Problem of a Service.
func of(name types.NamespacedName, reason problem.Reason, message string) problem.Problem {
	return problem.Problem{Object: problem.Object{Kind: "Service", Name: name}, Reason: reason, Message: message}
}
