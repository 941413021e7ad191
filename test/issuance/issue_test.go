package issuance_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/fairway"
)

// From an Ingress with an annotation to a certificate that both Envoys show, in
// every way that there is, through failures and a change of the leader.
func TestCertificates(t *testing.T) {
	s := start(t, acme.Options{Blocked: []string{"blocked.test"}})
	s.tolerate()
	for _, issuer := range []string{"http", "tls", "dns"} {
		s.ready(t, issuer)
	}
	t.Run("HTTP-01", func(t *testing.T) { testHTTP(t, s) })
	t.Run("TLS-ALPN-01", func(t *testing.T) { testTLS(t, s) })
	t.Run("DNS-01", func(t *testing.T) { testDNS(t, s) })
	t.Run("a name that fails", func(t *testing.T) { testFails(t, s) })
	t.Run("others' Secrets", func(t *testing.T) { testOthers(t, s) })
	t.Run("the class asks", func(t *testing.T) { testClass(t, s) })
	t.Run("what is shown", func(t *testing.T) { testShown(t, s) })
	t.Run("the leader is killed in mid-order", func(t *testing.T) { testLeaderKilled(t, s) })
	t.Run("the authority suggests to renew", func(t *testing.T) { testSuggested(t, s) })
	t.Run("nobody asks any more", func(t *testing.T) { testNobodyAsks(t, s) })
	t.Run("a right that is missing", func(t *testing.T) { testNoRight(t, s) })
}

func testHTTP(t *testing.T, s *scene) {
	began := time.Now()
	s.apply(t, "shop", "http", "shop.test", "www.shop.test")
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		return s.says([]string{"CertificatePending"}, "get", "events", "-o", "custom-columns=R:.reason,M:.message")(ctx)
	})
	serial := s.issued(t, "shop.test")
	t.Logf("%s from kubectl apply to the certificate at both Envoys", time.Since(began).Round(time.Millisecond))
	if other := s.issued(t, "www.shop.test"); other != serial {
		t.Errorf("two names of one Secret have certificates %s and %s", serial, other)
	}
	secret := s.secret(t, "shop-tls")
	for name, want := range map[string]string{
		"app.kubernetes.io/managed-by": "fairway", "fairway.dev/issuer": "http", "fairway.dev/secret": "default/shop-tls",
		"fairway.dev/acme-directory": s.authority.Directory,
	} {
		if secret.Labels[name] != want && secret.Annotations[name] != want {
			t.Errorf("the Secret has no %s: %s", name, want)
		}
	}
	if secret.Type != corev1.SecretTypeTLS || len(secret.OwnerReferences) > 0 {
		t.Errorf("the Secret is of type %s and has owners %v", secret.Type, secret.OwnerReferences)
	}
	fairway.Eventually(t, patience, s.idle)
	if orders := s.authority.Orders(); orders != 1 {
		t.Errorf("%d orders were placed for one certificate", orders)
	}
	events := s.says([]string{"CertificateOrdered", "CertificateIssued"}, "describe", "ingress", "shop")
	fairway.Eventually(t, patience, events)
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "")) // it is redirected, not solved
}

func testTLS(t *testing.T, s *scene) {
	s.apply(t, "pay", "tls", "pay.test")
	s.issued(t, "pay.test")
}

// A wildcard, and beside it the name itself: two records of one name. Nothing of
// them stays.
func testDNS(t *testing.T, s *scene) {
	s.applyOnly(t, "wild", "dns", "*.wild.test", "wild.test")
	s.issued(t, "any.wild.test")
	s.issued(t, "wild.test")
	fairway.Eventually(t, patience, func(context.Context) error {
		if left := s.names.TXT("_acme-challenge.wild.test"); len(left) > 0 {
			return fmt.Errorf("records are left: %q", left)
		}
		return nil
	})
}

// What the authority says reaches the owner, with the time of the next try, and
// is not asked again at once. Nobody else notices.
func testFails(t *testing.T, s *scene) {
	before := s.authority.Orders()
	s.apply(t, "blocked", "http", "blocked.test")
	fairway.Eventually(t, patience, s.says([]string{"CertificateFailed", "rejectedIdentifier", "tried again at"}, "describe", "ingress", "blocked"))
	fairway.Eventually(t, patience, s.says([]string{"Failing", "blocked-tls", "rejectedIdentifier"}, "get", "issuer", "http", "-o", "yaml"))
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		return s.Replicas[s.leader(t)].Says(`fairway_acme_failures_total{issuer="http",kind="Refused"} 1`)(ctx)
	})
	s.apply(t, "beside", "http", "beside.test")
	s.issued(t, "beside.test")
	if placed := s.authority.Orders() - before; placed > 1 {
		t.Errorf("%d orders were placed, one of them for a name that is not refused", placed)
	}
	// A name that DNS does not know costs not even an order.
	s.applyOnly(t, "unknown", "http", "unknown.test")
	fairway.Eventually(t, patience, s.says([]string{"NoSuchName", "DNS knows no name unknown.test"}, "describe", "ingress", "unknown"))
	// It has its address all the same: who writes DNS records may wait for it.
	fairway.Eventually(t, patience, s.says([]string{address}, "get", "ingress", "unknown", "-o", "jsonpath={.status.loadBalancer.ingress}"))
	for _, name := range []string{"blocked", "unknown"} {
		s.Cluster.Kubectl(t, "", "delete", "ingress", name)
	}
	fairway.Eventually(t, patience, s.idle)
}

// A Secret that somebody else has made is never written.
func testOthers(t *testing.T, s *scene) {
	authority := fairway.NewAuthority(t)
	theirs := authority.Secret(t, "theirs-tls", fairway.Wish{Names: []string{"theirs.test"}})
	s.Create(t, theirs)
	s.apply(t, "theirs", "http", "theirs.test")
	fairway.Eventually(t, patience, s.says([]string{"SecretNotOurs"}, "describe", "ingress", "theirs"))
	fairway.Eventually(t, patience, fairway.Presents("theirs.test", theirs))
	if now := s.secret(t, "theirs-tls"); now.ResourceVersion != theirs.ResourceVersion {
		t.Error("the Secret was written")
	}
	// What belongs to cert-manager is left to it.
	s.Cluster.Kubectl(t, "", "annotate", "ingress", "theirs", "cert-manager.io/cluster-issuer=le")
	fairway.Eventually(t, patience, s.says([]string{"TwoIssuers"}, "describe", "ingress", "theirs"))
	s.Cluster.Kubectl(t, "", "delete", "ingress", "theirs")
}

// The settings of a gateway ask for all Ingresses of its classes.
func testClass(t *testing.T, s *scene) {
	s.Cluster.Kubectl(t, `
apiVersion: fairway.dev/v1alpha1
kind: ClusterGatewayConfig
metadata: {name: default}
spec: {issuer: tls}
`, "apply", "-f", "-")
	s.names.Add(t, "whole.test. 60 IN A 127.0.0.1", "out.test. 60 IN A 127.0.0.1")
	for name, annotations := range map[string]string{"whole": "{}", "out": "{fairway.dev/issuer: none}"} {
		s.Cluster.Kubectl(t, fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s, annotations: %[2]s}
spec:
  ingressClassName: %[3]s
  tls: [{secretName: %[1]s-tls}]
  rules: [{host: %[1]s.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]
`, name, annotations, class), "apply", "-f", "-")
	}
	s.issued(t, "whole.test")
	err := s.Client.Get(t.Context(), client.ObjectKey{Namespace: fairway.Namespace, Name: "out-tls"}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("who opts out has a Secret: %v", err)
	}
	s.Cluster.Kubectl(t, "", "delete", "clustergatewayconfig", "default")
}

// What is going on is told without a look into Secrets.
func testShown(t *testing.T, s *scene) {
	fairway.Eventually(t, patience, func(context.Context) error {
		said := s.Fairway(t, s.Cluster.Config, "status")
		for _, want := range []string{"ISSUER", "http", "CERTIFICATE", "default/shop-tls", "Issued", "shop.test"} {
			if !strings.Contains(said.Out, want) {
				return fmt.Errorf("fairway status does not say %q:\n%s%s", want, said.Out, said.Err)
			}
		}
		return nil
	})
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		return s.Replicas[s.leader(t)].Says(`fairway_acme_certificates{issuer="http",state="Issued"} 2`)(ctx)
	})
}

// The leader is killed while the authority has an order of ours and has not yet
// looked: the next one finishes that order, and places no other.
func testLeaderKilled(t *testing.T, s *scene) {
	before := s.authority.Orders()
	led := s.leader(t)
	// An Envoy that stands still cannot answer: so the order waits.
	thaw := s.Envoys[1].Freeze(t)
	s.apply(t, "killed", "http", "killed.test")
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		orders, err := s.orders(ctx)
		if err == nil && (len(orders) != 1 || !strings.Contains(string(orders[0].Data["order.json"]), `"state":"Authorizing"`)) {
			err = fmt.Errorf("%d orders are under way, none of them being proved", len(orders))
		}
		return err
	})
	s.Replicas[led].Kill()
	thaw()
	fairway.Eventually(t, patience, s.Replicas[1-led].Says("fairway_leader 1"))
	s.restart(t, led) // else its Lease would be waited for
	s.issued(t, "killed.test")
	if placed := s.authority.Orders() - before; placed != 1 {
		t.Errorf("%d orders were placed, want 1", placed)
	}
	fairway.Eventually(t, patience, s.idle)
}

// When the authority suggests to renew at once, as it does after a revocation,
// the next question learns of it. The key is another one then.
func testSuggested(t *testing.T, s *scene) {
	before := s.secret(t, "pay-tls")
	serial := s.issued(t, "pay.test")
	past := time.Now().Add(-time.Hour)
	s.authority.SetRenewalInfo(t, before.Data[corev1.TLSCertKey], past.Add(-time.Hour), past, "https://ca.test/why")
	// A new leader asks at once; else it would be twice a day.
	led := s.leader(t)
	s.Replicas[led].Kill()
	s.restart(t, led)
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		var now string
		if err := s.presents("pay.test", &now)(ctx); err != nil {
			return err
		}
		if now == serial {
			return fmt.Errorf("the certificate with serial %s is still shown", serial)
		}
		return nil
	})
	after := s.secret(t, "pay-tls")
	if string(after.Data[corev1.TLSPrivateKeyKey]) == string(before.Data[corev1.TLSPrivateKeyKey]) {
		t.Error("the key is the old one")
	}
	if after.UID != before.UID {
		t.Error("the Secret was made anew")
	}
}

// What nobody asks for any more stays, and an order for it goes.
func testNobodyAsks(t *testing.T, s *scene) {
	secret := s.secret(t, "shop-tls")
	s.apply(t, "late", "http", "late.test", "blocked.test")
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		orders, err := s.orders(ctx)
		if err == nil && len(orders) == 0 {
			err = fmt.Errorf("no order is under way")
		}
		return err
	})
	s.Cluster.Kubectl(t, "", "delete", "ingress", "late", "shop")
	fairway.Eventually(t, patience, s.idle)
	if now := s.secret(t, "shop-tls"); now.ResourceVersion != secret.ResourceVersion {
		t.Error("the certificate was written")
	}
}

// An operator can leave the right out to write Secrets beside Ingresses. Nothing
// is ordered then that nobody could have.
func testNoRight(t *testing.T, s *scene) {
	before := s.authority.Orders()
	s.Cluster.Kubectl(t, "", "delete", "clusterrolebinding", "fairway-controller-certificates")
	s.apply(t, "right", "http", "right.test")
	fairway.Eventually(t, patience, s.says([]string{"CannotWriteSecret", "fairway-controller-certificates"}, "describe", "ingress", "right"))
	if placed := s.authority.Orders() - before; placed != 0 {
		t.Errorf("%d orders were placed", placed)
	}
}

// A controller that is cut off from the API server knows of no new challenge. No
// authority is led to it, so that none fails.
func TestACutOffControllerAnswersNoChallenge(t *testing.T) {
	s := start(t, acme.Options{})
	cable, kubeconfig := s.Cable(t)
	s.Replicas[1].Kill()
	s.RestartReplica(t, 1, "--kubeconfig", kubeconfig)
	s.Replicas[1].Tolerate("Failed to watch", "Error retrieving lease lock", "cut off from the API server")
	for _, replica := range s.Replicas {
		fairway.Eventually(t, patience, (&fairway.Installation{Metrics: replica.Metrics}).Ready)
	}
	s.ready(t, "tls")
	cable.Silence()
	var names []string
	for i := range 5 {
		name := fmt.Sprintf("cut%d.test", i)
		s.apply(t, fmt.Sprint("cut", i), "tls", name)
		names = append(names, name)
	}
	for _, name := range names {
		s.issued(t, name)
	}
	fairway.Eventually(t, patience, s.idle)
	led := &fairway.Installation{Metrics: s.Replicas[0].Metrics}
	if err := led.NoMetric("fairway_acme_failures_total")(t.Context()); err != nil {
		t.Errorf("the authority was led to who did not answer: %v", err)
	}
}
