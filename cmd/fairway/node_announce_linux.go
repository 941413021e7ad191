package main

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	cniagent "github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/controllers/node"
	"github.com/fairwaynet/fairway/controllers/node/announcement"
	"github.com/fairwaynet/fairway/controllers/node/network"
	"github.com/fairwaynet/fairway/controllers/node/services"
)

// announce makes this node answer for load-balancer addresses.
func (n *nodeSettings) announce(mgr manager.Manager, agent *node.Agent, registry prometheus.Registerer) error {
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS = -1 // what it writes is bounded by the number of addresses that change hands
	speaker := &announcement.Speaker{
		Node: n.Name, Namespace: n.Namespace, Config: config, Scheme: mgr.GetScheme(), Slices: mgr.GetCache(),
		SlicesOf: func(ctx context.Context, name announcement.Service) ([]*discoveryv1.EndpointSlice, error) {
			return services.SlicesOf(ctx, mgr.GetCache(), name)
		},
		Links: func() ([]announcement.Link, error) {
			interfaces, err := link.Interfaces()
			if err != nil {
				return nil, err
			}
			all := make([]announcement.Link, len(interfaces))
			for i, each := range interfaces {
				all[i] = announcement.Link{Name: each.Name, Networks: each.Networks}
			}
			return all, nil
		},
		Routes: func() (announcement.Routes, error) {
			routes, err := link.ReadRoutes()
			return announcement.Routes(routes), err
		},
		Annotate: func(ctx context.Context, annotation, text string) error {
			return network.Annotate(ctx, mgr.GetClient(), network.Key(n.Name), annotation, text)
		},
		Reporter: agent.Reporter, Ranges: agent.Services.PublishBalancers, Log: agent.Log,
	}
	boot, err := cniagent.Boot()
	if err != nil {
		return err
	}
	speaker.Memory = announcement.Memory{Path: announcement.MemoryIn(n.Folders.Run), Boot: boot}
	if speaker.Metrics, err = announcement.NewMetrics(registry, speaker.Held); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return mgr.Add(speaker)
}
