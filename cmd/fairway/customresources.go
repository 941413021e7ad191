package main

import (
	"errors"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/controllers/objects/customresources"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
)

// checkCustomResources makes every replica look whether the cluster's custom resources
// are as new as it is.
func (c *controllerSettings) checkCustomResources(mgr manager.Manager, registry *prometheus.Registry, log logr.Logger) (*customresources.Checker, error) {
	published, err := customresources.Document(mgr.GetConfig())
	if err != nil {
		return nil, err
	}
	checker := &customresources.Checker{Published: published, Log: log}
	return checker, errors.Join(registry.Register(checker), mgr.Add(leader.Everywhere(checker.Run)))
}
