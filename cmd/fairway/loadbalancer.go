package main

import (
	"context"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	addresses "github.com/fairwaynet/fairway/controllers/loadbalancer"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// addressSettings say whether and to which Services this controller gives addresses.
type addressSettings struct {
	Assign    bool
	Class     loadbalancer.Class
	Namespace string // of the Leases of addresses
}

func (a *addressSettings) bind(flags *pflag.FlagSet) {
	flags.BoolVar(&a.Assign, "assign-addresses", a.Assign, "give addresses of AddressPools to Services of type LoadBalancer")
	flags.StringVar(&a.Class.Name, "load-balancer-class", a.Class.Name, "`class` of the Services that get addresses (spec.loadBalancerClass), with --assign-addresses")
	flags.BoolVar(&a.Class.Default, "load-balancer-default", a.Class.Default, "also Services without a class get addresses; false where another controller gives them some")
	flags.StringVar(&a.Namespace, "address-namespace", a.Namespace, "`namespace` of the Leases of addresses: that of the agents (fairway node), with --assign-addresses")
}

// give makes the leader give addresses. What is wrong with them is in problems for as long as
// it leads.
func (a *addressSettings) give(
	mgr manager.Manager, elector *leader.Elector, recorder record.EventRecorder, problems *report.Union, log logr.Logger,
) {
	if !a.Assign {
		return
	}
	config := rest.CopyConfig(mgr.GetConfig())
	allocator := &addresses.Allocator{
		Config: config, Scheme: mgr.GetScheme(), Namespace: a.Namespace, Class: a.Class, Log: log,
		Reporter: func(objects client.Reader) (addresses.Reporter, func()) {
			r := report.New(report.Log{Log: log}, report.Events{Recorder: recorder, Objects: objects})
			return r, problems.Add(r)
		},
	}
	elector.Add("addresses of Services", func(ctx context.Context) error { return allocator.Lead(ctx) })
}
