package main

import (
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/controllers/edge/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
)

// conditions makes the leader write whether Fairway accepts the configurations of
// gateways.
func (c *controllerSettings) conditions(mgr manager.Manager, elector *leader.Elector, log logr.Logger) *gatewayconfig.Conditions {
	conditions := &gatewayconfig.Conditions{
		Objects: index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()},
		Base:    c.Route,
		Writer:  mgr.GetClient(),
		Manager: fieldmanager.Status(c.managers().Conditions),
		Log:     log,
	}
	elector.Add("conditions of gateway configurations", conditions.Run)
	return conditions
}
