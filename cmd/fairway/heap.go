package main

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/cmd/internal/scavenger"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
)

// returnsHeap gives back to the machine what the process no longer needs.
func returnsHeap() manager.Runnable {
	return leader.Everywhere(func(ctx context.Context) error { return scavenger.Run(ctx, scavenger.Interval) })
}
