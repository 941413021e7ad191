// Package gateway tests fairway gateway with several controllers in a cluster:
// who may connect, how certificates are renewed, what happens when a controller
// or a gateway goes.
package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

const (
	patience  = time.Minute
	namespace = "fairway-system"
)

func secretNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// site is a cluster with two controllers and a gateway, which serves shop.test.
type site struct {
	*fairway.Installation

	second  *fairway.Replica
	gateway *fairway.Gateway
}

// start brings a site up. Certificates live for a minute.
func start(t *testing.T, flags ...string) *site {
	t.Helper()
	fairway.Backend(t, "shop", "10.77.2.1")
	s := &site{Installation: fairway.Start(t, fairway.Options{
		Envoys: -1,
		Flags:  []string{"--xds-identity=managed", "--xds-certificate-lifetime=1m"},
	})}
	s.second = s.StartReplica(t)
	dir := s.Mount(t, secretNamed("fairway-gateway-default"))
	s.gateway = s.StartGateway(t, append([]string{
		"--xds", s.XDS.String(), "--xds", s.second.XDS.String(), "--tls-dir", dir, "--drain-delay", "0s",
	}, flags...)...)
	fairway.Eventually(t, patience, s.gateway.Ready)
	s.Create(t, fairway.Class("fairway"), fairway.Service("shop"), fairway.Slice("shop", "10.77.2.1"),
		fairway.Ingress("shop", "fairway", "shop.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "shop"))
	return s
}

// files are what a Secret holds.
func (s *site) files(ctx context.Context, name string) (identity.Files, error) {
	var secret corev1.Secret
	err := s.Client.Get(ctx, secretNamed(name), &secret)
	return identity.Files{CA: secret.Data["ca.crt"], Certificate: secret.Data["tls.crt"], Key: secret.Data["tls.key"]}, err
}

// connections is how often an Envoy has connected to any controller.
func (s *site) connections() int {
	return strings.Count(s.Controller.Log()+s.second.Log(), "envoy connected")
}

var secrets = []string{"fairway-ca", "fairway-controller-tls", "fairway-gateway-default"}

// Whatever happens to a Secret it is mended, no stream ends by that, and what
// connects afterwards is served with certificates of one another's trust.
func TestCertificatesAreRenewedUnderOpenStreams(t *testing.T) {
	s := start(t)
	load := s.StartLoad(t, "shop.test", "/")
	before := map[string]identity.Files{}
	for _, name := range secrets {
		var err error
		if before[name], err = s.files(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}

	t.Log("somebody deletes the authority, and breaks the others")
	for name, spoil := range map[string]func(*corev1.Secret) error{
		"fairway-ca":             func(o *corev1.Secret) error { return s.Client.Delete(t.Context(), o) },
		"fairway-controller-tls": func(o *corev1.Secret) error { o.Labels = nil; return s.Client.Update(t.Context(), o) },
		"fairway-gateway-default": func(o *corev1.Secret) error {
			o.Data["tls.key"] = []byte("broken")
			return s.Client.Update(t.Context(), o)
		},
	} {
		spoiling(t, s, name, spoil)
	}
	fairway.Eventually(t, patience, func(ctx context.Context) error { return s.wellKept(ctx) })
	authority, err := s.files(t.Context(), "fairway-ca")
	if err != nil || authority.Equal(before["fairway-ca"]) {
		t.Fatalf("the authority that was deleted is there again: %v", err)
	}

	t.Log("everything is signed by the new authority, and the old one is forgotten")
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		authority, err := s.files(ctx, "fairway-ca")
		if err == nil && strings.Count(string(authority.CA), "BEGIN") != 1 {
			err = errors.New("the old authority is still trusted")
		}
		return errors.Join(err, s.wellKept(ctx))
	})
	if got := s.connections(); got != 1 {
		t.Errorf("the Envoy has connected %d times", got)
	}

	t.Log("the controllers are replaced, the Envoy connects anew")
	s.Controller.Kill()
	s.StartController(t)
	fairway.Eventually(t, patience, s.Ready)
	s.second.Kill()
	fairway.Eventually(t, patience, func(context.Context) error {
		if got := strings.Count(s.Controller.Log(), "envoy connected"); got == 0 {
			return errors.New("the Envoy has not come to the new controller")
		}
		return nil
	})
	s.Create(t, fairway.Ingress("late", "fairway", "late.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Answers("late.test", "/", "shop"))
	load.StopClean()
}

func spoiling(t *testing.T, s *site, name string, spoil func(*corev1.Secret) error) {
	t.Helper()
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		var secret corev1.Secret
		if err := s.Client.Get(ctx, secretNamed(name), &secret); err != nil {
			return err
		}
		return client.IgnoreNotFound(spoil(&secret)) // a conflict is tried again
	})
}

// wellKept is nil when all Secrets are what they should be: each other's, and
// with the label by which they are found.
func (s *site) wellKept(ctx context.Context) error {
	var wrong []error
	authority, err := s.files(ctx, "fairway-ca")
	wrong = append(wrong, err)
	for _, name := range secrets {
		var secret corev1.Secret
		if err := s.Client.Get(ctx, secretNamed(name), &secret); err != nil {
			wrong = append(wrong, err)
			continue
		}
		files, _ := s.files(ctx, name)
		_, _, err := files.Pair()
		if err == nil && string(files.CA) != string(authority.CA) {
			err = errors.New("it trusts others than the authority says")
		}
		if err == nil && (secret.Labels["fairway.dev/identity"] == "" || secret.Type != "fairway.dev/identity") {
			err = fmt.Errorf("labels %v, type %s", secret.Labels, secret.Type)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

// A class with parameters has a gateway of its own, which has a certificate of
// its own; with it an Envoy gets that gateway and no other.
func TestEveryGatewayHasItsOwnCertificate(t *testing.T) {
	s := start(t)
	class := fairway.Class("inner")
	group, name := "fairway.dev", "inner"
	class.Spec.Parameters = parameters(group, name)
	s.Create(t, class)
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		_, err := s.files(ctx, "fairway-gateway-inner")
		return err
	})
	inner := s.Mount(t, secretNamed("fairway-gateway-inner"))
	stranger := s.StartGateway(t, "--xds", s.XDS.String(), "--tls-dir", inner, "--gateway", "default")
	fairway.Eventually(t, patience, func(context.Context) error {
		if !strings.Contains(s.Controller.Log(), "stream turned away") {
			return errors.New("nobody was turned away")
		}
		return nil
	})
	if err := stranger.Says("/readyz", 503, "INITIALIZING")(t.Context()); err != nil {
		t.Error(err)
	}
	old := s.expired(t, "inner")
	if err := s.Client.Delete(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	t.Log("the class is gone; its certificate is, when it has expired")
	fairway.Eventually(t, 2*patience, func(ctx context.Context) error {
		var secret corev1.Secret
		if err := s.Client.Get(ctx, secretNamed("fairway-gateway-inner"), &secret); err != nil {
			return client.IgnoreNotFound(err)
		}
		err := errors.New("it is still there")
		if !soak.On() { // a soak waits until the certificate expires
			secret.Data["tls.crt"], secret.Data["tls.key"] = old.Certificate, old.Key
			err = errors.Join(err, s.Client.Update(ctx, &secret))
		}
		return err
	})
	if _, err := s.files(t.Context(), "fairway-gateway-inner"); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// expired is a certificate of the gateway that expired an hour ago.
func (s *site) expired(t *testing.T, name route.Gateway) identity.Files {
	t.Helper()
	authority, err := s.files(t.Context(), "fairway-ca")
	if err != nil {
		t.Fatal(err)
	}
	policy, now := identity.Policy{Certificate: time.Minute}, time.Now()
	by, _, err := policy.Succeed(authority, identity.Files{}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	files, err := policy.Issue(identity.Gateway(name), by, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parameters(group, name string) *networkingv1.IngressClassParametersReference {
	return &networkingv1.IngressClassParametersReference{APIGroup: &group, Kind: "ClusterGatewayConfig", Name: name}
}
