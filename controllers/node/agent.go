package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/install"
	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/keeper"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/node/network"
	"github.com/fairwaynet/fairway/controllers/node/services"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	proxykeeper "github.com/fairwaynet/fairway/proxy/keeper"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/policy/enforce"
)

// Agent keeps the pod network and the Services of one node. It is a manager.Runnable.
type Agent struct {
	Name   network.Key
	Config network.Config
	// WithoutPods leaves the pod network to another program.
	WithoutPods bool

	Cache  cache.Cache
	Client client.Client

	Folders   install.Folders
	Plugin    string // path of the program that is installed
	Exclusive bool   // moves others' network configurations aside

	Engine      *nft.Engine
	Connections keeper.Connections
	// Sandboxes asks the runtime which pods it has.
	Sandboxes func(context.Context) (map[string]bool, error)

	Reporter *report.Reporter
	Told     Told
	Metrics  *Metrics
	Log      logr.Logger
	// Complete is called once the node's pods can work.
	Complete func()
	// Services keeps the Services of the node, too; nil: another program does.
	Services *Services
	// Policies enforces NetworkPolicies; nil: nobody does. It needs the pod network.
	Policies *Policies

	written atomic.Bool // the kernel has the tables

	boot   string
	booted time.Time
	leases ipam.Leases
	keeper *keeper.Keeper
	ways   *network.Reconciler
	start  starter
	status *statusWriter
}

// Told hears of what people should know that is no mistake in an object.
type Told interface {
	// Mended says what somebody else had changed, and was put back.
	Mended(ctx context.Context, what string)
}

// prepare makes the parts.
func (a *Agent) prepare(ctx context.Context) error {
	if a.Services != nil {
		// Not before: a manager starts nothing until what is indexed has been read.
		if err := errors.Join(services.Index(ctx, a.Cache), a.Services.prepare(a)); err != nil {
			return err
		}
	}
	if a.WithoutPods {
		return nil
	}
	var err error
	if a.boot, err = agent.Boot(); err != nil {
		return err
	}
	a.booted = time.Now().Add(-uptime())
	a.leases = ipam.Leases{Dir: a.Folders.State}
	a.keeper, err = keeper.New(keeper.Options{
		Engine: a.Engine, Leases: a.leases, Overlay: a.Config.Overlay, Connections: a.Connections,
		Boot: a.boot, Now: time.Now, Passed: a.passed, InterfacesChanged: func() { a.ways.Wake() },
	})
	if err != nil {
		return err
	}
	a.status = newStatusWriter(a.Name, a.Client, time.Now, a.Log)
	a.ways = &network.Reconciler{
		Config: a.Config, Name: a.Name, Nodes: a.Cache, Writer: a.Client,
		Interfaces: link.Interfaces, Publisher: a.keeper, Describe: a.status.describe, Reporter: a.Reporter,
	}
	a.start = starter{agent: a}
	if a.Policies != nil {
		return a.Policies.prepare(ctx, a)
	}
	return nil
}

// Start runs the agent until ctx ends.
func (a *Agent) Start(ctx context.Context) error {
	if err := a.prepare(ctx); err != nil {
		return err
	}
	if a.Services == nil {
		// An earlier agent kept Services. Nobody follows their changes any more.
		if err := a.Engine.Remove(ctx, proxykeeper.Tables()...); err != nil {
			a.Log.Error(err, "remove the tables of Services, which another program keeps now")
		}
	}
	if a.Policies == nil {
		if err := a.Engine.Remove(ctx, enforce.Tables()...); err != nil {
			a.Log.Error(err, "remove the tables of policies, which nobody enforces any more")
		}
	}
	if a.WithoutPods {
		return a.assembly().Start(ctx)
	}
	if err := a.Folders.Plugin(a.Plugin); err != nil {
		return err
	}
	listener, err := agent.Listen(ctx, a.Folders.Run)
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	// Pods' host ports need neither the API server nor the first pass.
	running.Go(func() error { return agent.Serve(ctx, listener, a.serve) })
	running.Go(func() error { return a.keeper.Run(ctx) })
	running.Go(func() error { return a.watchTables(ctx) })
	running.Go(func() error { return a.reclaim(ctx) })
	running.Go(func() error { return a.status.run(ctx) })
	running.Go(func() error { return a.assembly().Start(ctx) })
	return running.Wait()
}

// assembly has the reconcilers.
func (a *Agent) assembly() *assembly.Assembly {
	all := &assembly.Assembly{Report: a.Reporter.Report, Log: a.Log}
	if !a.WithoutPods {
		all.Parts = append(all.Parts, &assembly.Kind[network.Key, network.Picture]{
			Name: "network", Builder: a.ways, Reconciler: a.ways, Sources: a.ways.Sources(a.Cache), Publish: a.ways.Publish,
		})
	}
	if a.Services != nil {
		all.Parts = append(all.Parts, a.Services.parts(a.Cache)...)
		all.Beside = a.Services.beside()
	}
	if a.Policies != nil {
		all.Parts = append(all.Parts, a.Policies.parts(a.Cache)...)
		all.Beside = append(all.Beside, a.Policies.run)
	}
	if a.WithoutPods {
		all.Beside = append(all.Beside, a.watchTables)
	}
	return all
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*Agent) NeedLeaderElection() bool { return false }

// serve answers an ADD of the plugin: what the pod needs is in the kernel.
func (a *Agent) serve(ctx context.Context, request agent.Request) error {
	err := a.keeper.Prepare(ctx, ipam.Key{Container: request.Container, Interface: request.Interface})
	if err == nil && a.Policies != nil {
		err = a.Policies.begin(ctx, request)
	}
	if err != nil {
		a.Log.Error(err, "prepare a pod", "namespace", request.Namespace, "pod", request.Pod)
	}
	return err
}

// keeperKey is the reporter's key of what passes find.
type keeperKey struct{}

// ReasonKernel says that the kernel does not take what the network needs.
const ReasonKernel problem.Reason = "KernelRefused"

// passed hears of a pass of the keeper.
func (a *Agent) passed(ctx context.Context, r keeper.Report) {
	a.written.Store(true)
	a.mended(ctx, r.Mended)
	var problems []problem.Problem
	for _, err := range append(r.Failed, r.Err) {
		if err != nil {
			problems = append(problems, a.problem(ReasonKernel, err.Error()))
		}
	}
	for _, blocker := range r.Blocked {
		problems = append(problems, a.problem(ReasonBlocked, blocked(blocker)))
	}
	a.Reporter.Report(ctx, keeperKey{}, problems)
	usage, err := a.leases.Usage(r.Wanted.Ranges)
	if err != nil {
		usage = nil // the reclaiming says so
	}
	a.Metrics.passed(r, usage)
	if r.Err == nil {
		if err := a.start.complete(ctx, r.Wanted); err != nil {
			a.Log.Error(err, "tell the plugin that pods can start")
		}
	}
	a.status.passed(usage, a.Reporter.Problems())
}

func (a *Agent) problem(reason problem.Reason, message string) problem.Problem {
	return problem.Problem{Object: a.object(), Reason: reason, Message: message}
}

// Cleanup takes everything away that the agent, and the plugin for it, have made on the
// node: pods lose their network, and new connections find no Services.
func Cleanup(ctx context.Context, folders install.Folders, engine *nft.Engine) error {
	wrong := []error{folders.Uninstall(), agent.Remove(folders.Run)} // first: no pod starts any more
	wrong = append(wrong, engine.Remove(ctx, append(proxykeeper.Tables(), enforce.Tables()...)...))
	wrong = append(wrong, keeper.Remove(ctx, engine, ipam.Leases{Dir: folders.State}, network.OverlayName))
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return folders.Forget()
}
