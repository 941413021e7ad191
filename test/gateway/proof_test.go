package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/proof"
)

// tlsSite is an Ingress for a host with a Secret of the same name.
func tlsSite(name, host string) *networkingv1.Ingress {
	i := fairway.Ingress(name, "fairway", host, "/", "shop")
	i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: name}}
	return i
}

// shows is a check for Eventually: the gateway has seen its Envoy serve a
// certificate with that serial number.
func (s *site) shows(name string, serial int64) func(context.Context) error {
	return s.gateway.Says("/metrics", 200, fmt.Sprintf("fairway_gateway_certificate_expiry_timestamp_seconds{name=%q,serial=\"%x\"}", name, serial))
}

// proved is a check for Eventually: the controllers know that so many
// certificates are served.
func (s *site) proved(n int) func(context.Context) error {
	line := fmt.Sprintf(`fairway_certificate_proofs{state="proved"} %d`, n)
	return func(ctx context.Context) error {
		err1, err2 := s.Metric(line)(ctx), s.second.Says(line)(ctx)
		if err1 == nil || err2 == nil {
			return nil
		}
		return errors.Join(err1, err2)
	}
}

// What is published is fetched and proved before any client comes: so a name
// that nobody has used is served while no controller is there. An Envoy that is
// new has everything proved again, and so has a certificate that is.
func TestCertificatesAreProvedBeforeClientsCome(t *testing.T) {
	s := start(t)
	authority := fairway.NewAuthority(t)
	own := authority.Secret(t, "own", fairway.Wish{Names: []string{"own.test"}, Serial: 1001})
	wild := authority.Secret(t, "wild", fairway.Wish{Names: []string{"*.wild.test"}, Serial: 1002})
	s.Create(t, own, wild, tlsSite("own", "own.test"), tlsSite("wild", "*.wild.test"))
	fairway.Eventually(t, patience, s.shows("own.test", 1001))
	fairway.Eventually(t, patience, s.shows("*.wild.test", 1002))
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_certificates 3\n")) // the default one, too
	fairway.Eventually(t, patience, s.proved(3))

	t.Log("all controllers are gone")
	s.Controller.Kill()
	s.second.Kill()
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_controller_connected 0\n"))
	for name, secret := range map[string]*corev1.Secret{"own.test": own, proof.NameOf("*.wild.test"): wild} {
		if err := fairway.Presents(name, secret)(t.Context()); err != nil {
			t.Errorf("a name that nobody has used, without controllers: %v", err)
		}
	}
	next := authority.Secret(t, "own", fairway.Wish{Names: []string{"own.test"}, Serial: 1003})
	if err := s.Client.Update(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := s.shows("own.test", 1001)(t.Context()); err != nil {
		t.Errorf("without controllers: %v", err)
	}

	t.Log("they are back")
	s.StartController(t)
	s.RestartReplica(t, 1)
	fairway.Eventually(t, patience, s.shows("own.test", 1003))
	fairway.Eventually(t, patience, s.proved(3))

	t.Log("Envoy crashes")
	envoy := s.envoy(t)
	if err := syscall.Kill(envoy, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_restarts_total 1\n"))
	fairway.Eventually(t, patience, s.gateway.Ready)
	fairway.Eventually(t, patience, s.shows("own.test", 1003))
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_certificates 3\n"))
	fairway.Eventually(t, patience, s.proved(3))
	if err := s.Client.Delete(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := s.Client.Delete(t.Context(), tlsSite("wild", "*.wild.test")); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, s.gateway.Says("/metrics", 200, "fairway_gateway_certificates 2\n"))
}

// envoy is the process of the gateway's Envoy.
func (s *site) envoy(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.gateway.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the gateway has no child")
	return 0
}
