package main

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/fairwaynet/fairway/cmd/internal/health"
	"github.com/fairwaynet/fairway/controllers/node"
	"github.com/fairwaynet/fairway/controllers/node/announcement"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// clean takes everything away that agents have put onto this machine.
func (n *nodeSettings) clean(ctx context.Context) (err error) {
	engine, err := nft.New(ctx, nft.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	return errors.Join(node.Cleanup(ctx, n.Folders, engine), announcement.Forget(n.Folders.Run))
}

// cleanAndStay is ready once the machine is clean, until ctx ends.
func (n *nodeSettings) cleanAndStay(ctx context.Context, log logr.Logger) error {
	const pause = 5 * time.Second // the agent before this one may not have ended yet
	probes := &health.Probes{Metrics: prometheus.NewRegistry()}
	listener, err := health.Listen(ctx, n.MetricsAddress)
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return probes.Serve(ctx, listener) })
	running.Go(func() error {
		for {
			err := n.clean(ctx)
			if err == nil {
				log.Info("this machine is clean: its pods have no network of Fairway any more")
				probes.Ready()
				return nil
			}
			log.Error(err, "clean this machine", "again after", pause.String())
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
	})
	return running.Wait()
}
