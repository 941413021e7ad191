package issuance_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/fairway"
)

// An Issuer is used by one of two installations of one namespace, whoever names it. When
// its spec.controller changes, the other one takes it over, with the certificates.
func TestAnIssuerIsOfOneInstallation(t *testing.T) {
	s := start(t, acme.Options{})
	blue := fairway.Start(t, fairway.Options{
		Cluster: s.Cluster, Name: "blue",
		Flags: []string{
			"--controller-value", "fairway.dev/blue", "--http-port", "8082", "--https-port", "8445", "--acme-resolver", nameserverAddress,
			"--publish-address", "192.0.2.81", "--leader-lease-duration=3s", "--leader-renew-deadline=2s", "--leader-retry-period=500ms",
		},
	})
	class := fairway.Class("blue")
	class.Spec.Controller = "fairway.dev/blue"
	s.Create(t, class)
	s.ready(t, "dns")
	fairway.Eventually(t, patience, s.writtenBy("dns", "fairway-controller"))

	s.ask(t, "theirs", "blue", "theirs.test")
	fairway.Eventually(t, patience, s.says(
		[]string{"IssuerNotOurs", `belongs to controller "fairway.dev/ingress-controller"`}, "describe", "ingress", "theirs"))
	fairway.Eventually(t, patience, blue.Metric(`fairway_problems{kind="Ingress",reason="IssuerNotOurs"} 1`))

	s.Cluster.Kubectl(t, "", "patch", "issuer", "dns", "--type=merge", "-p", `{"spec":{"controller":"fairway.dev/blue"}}`)
	fairway.Eventually(t, patience, s.writtenBy("dns", "blue-controller.fairway-system"))
	made := s.made(t, "theirs")
	s.ask(t, "ours", ownClass, "ours.test")
	fairway.Eventually(t, patience, s.says([]string{"IssuerNotOurs", `belongs to controller "fairway.dev/blue"`}, "describe", "ingress", "ours"))
	account := &corev1.Secret{}
	if err := s.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "blue-account-dns"}, account); err != nil {
		t.Error(err)
	} else if account.Labels[installation.Label] != "blue" {
		t.Errorf("the account has the labels %v", account.Labels)
	}

	s.Cluster.Kubectl(t, "", "patch", "issuer", "dns", "--type=merge", "-p", `{"spec":{"controller":null}}`)
	fairway.Eventually(t, patience, s.writtenBy("dns", "fairway-controller"))
	s.made(t, "ours")
	fairway.Eventually(t, patience, blue.Metric(`fairway_problems{kind="Ingress",reason="IssuerNotOurs"} 1`))
	if now := s.secret(t, "theirs-tls"); now.ResourceVersion != made.ResourceVersion {
		t.Error("the certificate of the other installation's Ingress was written")
	}
	fairway.Eventually(t, patience, s.idle)
	if orders := s.authority.Orders(); orders != 2 {
		t.Errorf("%d orders were placed for two certificates", orders)
	}
}

// ownClass is the class of the scene's own installation.
const ownClass = class

// ask applies an Ingress of a class that asks the Issuer dns for a certificate.
func (s *scene) ask(t *testing.T, name, class, host string) {
	t.Helper()
	s.Cluster.Kubectl(t, fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, annotations: {fairway.dev/issuer: dns}}
spec:
  ingressClassName: %s
  tls: [{hosts: [%s], secretName: %[1]s-tls}]
  rules: [{host: %[3]s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]
`, name, class, host), "apply", "-f", "-")
}

// made waits until the certificate for an Ingress is there.
func (s *scene) made(t *testing.T, ingress string) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		err := s.Client.Get(ctx, client.ObjectKey{Namespace: fairway.Namespace, Name: ingress + "-tls"}, secret)
		if err == nil && len(secret.Data[corev1.TLSCertKey]) == 0 {
			err = apierrors.NewNotFound(corev1.Resource("secrets"), secret.Name)
		}
		return err
	})
	return secret
}

// writtenBy is a check for Eventually: the Issuer is ready, and a manager has written
// its status, and nobody else.
func (s *scene) writtenBy(issuer, manager string) func(context.Context) error {
	return func(ctx context.Context) error {
		found := &v1alpha1.Issuer{}
		if err := s.Client.Get(ctx, client.ObjectKey{Name: issuer}, found); err != nil {
			return err
		}
		var managers []string
		for _, entry := range found.ManagedFields {
			if entry.Subresource == "status" {
				managers = append(managers, entry.Manager)
			}
		}
		if !slices.Equal(managers, []string{manager}) || !meta.IsStatusConditionTrue(found.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("the status of Issuer %s was written by %q, want %q: %+v", issuer, managers, manager, found.Status.Conditions)
		}
		return nil
	}
}
