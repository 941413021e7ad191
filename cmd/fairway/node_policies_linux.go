package main

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/controllers/node"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
)

// addPolicies makes the agent enforce NetworkPolicies.
func (n *nodeSettings) addPolicies(agent *node.Agent, mgr manager.Manager, registry prometheus.Registerer) error {
	api, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	connections, err := conntrack.Open(conntrack.Options{})
	if err != nil {
		return err
	}
	metrics, err := node.NewPolicyMetrics(registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	agent.Policies = &node.Policies{
		Connections: connections, // until the process ends
		Live:        mgr.GetAPIReader(), API: api, Metrics: metrics, LogDenied: n.LogDenied,
	}
	return nil
}
