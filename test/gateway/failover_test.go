package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// A controller that stands still says nothing: no connection is closed. The
// Envoy notices by itself and goes to the other controller.
func TestAControllerThatFallsSilentIsLeft(t *testing.T) {
	s := start(t)
	load := s.StartLoad(t, "shop.test", "/")
	silent, other := s.Controller, s.second.Program
	if strings.Contains(other.Log(), "envoy connected") {
		silent, other = other, silent
	}
	silent.Signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { silent.Signal(t, syscall.SIGCONT) })
	began := time.Now()
	fairway.Eventually(t, patience, func(context.Context) error {
		if !strings.Contains(other.Log(), "envoy connected") {
			return errors.New("the Envoy has not come to the other controller")
		}
		return nil
	})
	soak.Promised(t, "until the Envoy came to the other controller", time.Since(began), 15*time.Second)
	s.Create(t, fairway.Ingress("late", "fairway", "late.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Answers("late.test", "/", "shop"))
	load.StopClean()
}

// With both controllers gone the gateway serves on; when they are back, it is
// told what it has missed.
func TestAGatewayServesOnWithoutControllers(t *testing.T) {
	s := start(t)
	load := s.StartLoad(t, "shop.test", "/")
	s.Controller.Kill()
	s.second.Kill()
	s.Create(t, fairway.Ingress("missed", "fairway", "missed.test", "/", "shop"))
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_controller_connected 0\n"))
	fairway.Eventually(t, patience, load.Reaches("shop", 500))
	if err := s.gateway.Ready(t.Context()); err != nil {
		t.Errorf("without controllers: %v", err)
	}
	s.StartController(t)
	fairway.Eventually(t, patience, fairway.Answers("missed.test", "/", "shop"))
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_controller_connected 1\n"))
	load.StopClean()
}

// Envoys that have all come to one controller spread again when there are two:
// a connection does not last for ever.
func TestEnvoysSpreadOverControllers(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.2.1")
	flags := []string{"--xds-identity=managed", "--xds-connection-age=3s"}
	s := &site{Installation: fairway.Start(t, fairway.Options{Envoys: -1, Flags: flags})}
	s.Create(t, fairway.Class("fairway"), fairway.Service("shop"), fairway.Slice("shop", "10.77.2.1"),
		fairway.Ingress("shop", "fairway", "shop.test", "/", "shop"))
	dir := s.Mount(t, secretNamed("fairway-gateway-default"))
	s.second = s.StartReplica(t)
	s.second.Kill()
	const gateways = 4
	for i := range gateways {
		g := s.StartGateway(t, "--node", fmt.Sprint("envoy-", i), "--xds", s.XDS.String(), "--xds", s.second.XDS.String(), "--tls-dir", dir, "--drain-delay", "0s")
		fairway.Eventually(t, patience, g.Ready)
	}
	fairway.Eventually(t, patience, s.Metric(fmt.Sprintf("fairway_xds_envoys %d", gateways)))
	load := s.StartLoad(t, "shop.test", "/")
	s.RestartReplica(t, 1)
	fairway.Eventually(t, patience, func(context.Context) error {
		if !strings.Contains(s.second.Log(), "envoy connected") {
			return errors.New("no Envoy has come to the controller that is new")
		}
		return nil
	})
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "shop"))
	load.StopClean()
}
