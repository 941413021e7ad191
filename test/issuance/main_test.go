// Package issuance_test tests certificates from "kubectl apply" to what a client
// is shown: a real API server, two controllers with the rights of config/rbac,
// two Envoys, a DNS server that takes updates, and Pebble, a real certificate
// authority, which refuses half of all nonces.
package issuance_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/nameserver"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

const (
	// patience is how long a change may take on a machine that is busy otherwise.
	patience          = time.Minute
	class             = "public"
	namespace         = "fairway-system" // of the controllers
	nameserverAddress = "127.0.0.53:53"
	keyName           = "fairway.key"
	address           = "192.0.2.80"
)

func key() string {
	return base64.StdEncoding.EncodeToString([]byte("thirty-two bytes of a secret key"))
}

// scene is all that runs.
type scene struct {
	*fairway.Installation

	authority *acme.Authority
	names     *nameserver.Server
	roots     *x509.CertPool
}

// start brings two controllers up, two Envoys, and an authority.
func start(t *testing.T, options acme.Options) *scene {
	t.Helper()
	s := &scene{names: nameserver.Start(t, nameserverAddress, "test", map[string]string{keyName: key()})}
	s.names.Add(t,
		"test. 60 IN SOA ns.test. root.test. 1 60 60 60 60", "test. 60 IN NS ns.test.", "ns.test. 60 IN A 127.0.0.53")
	options.HTTPPort, options.TLSPort, options.DNS = 8080, 8443, nameserverAddress
	s.authority = acme.Start(t, options)
	s.roots = s.authority.Roots(t)
	s.Installation = fairway.Start(t, fairway.Options{
		Replicas: 2, Envoys: 2,
		Flags: []string{
			"-v", "--acme-resolver", nameserverAddress, "--publish-address", address,
			"--leader-lease-duration=3s", "--leader-renew-deadline=2s", "--leader-retry-period=500ms",
		},
		Before: func(r *fairway.Installation) {
			ip := r.Address()
			fairway.Backend(t, "shop", ip)
			r.InstallCustomResources(t)
			r.Create(t, fairway.Class(class), fairway.Service("shop"), fairway.Slice("shop", ip))
		},
	})
	s.Create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tsig"}, Data: map[string][]byte{"key": []byte(key())},
	})
	for name, challenge := range map[string]string{"http": "HTTP-01", "tls": "TLS-ALPN-01", "dns": "DNS-01"} {
		s.issuer(t, name, challenge)
	}
	return s
}

// issuer applies an Issuer that asks by one challenge.
func (s *scene) issuer(t *testing.T, name, challenge string, more ...string) {
	t.Helper()
	ca := "    " + strings.ReplaceAll(strings.TrimSpace(string(s.authority.CA)), "\n", "\n    ")
	text := fmt.Sprintf(`
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: %s}
spec:
  directory: %s
  termsAgreed: true
  email: shop@shop.test
  profile: default
  challenges: [%s]
  dns: {rfc2136: {server: "%s", zone: test, tsig: {keyName: %s, secretName: tsig}}}
  caBundle: |
%s
%s`, name, s.authority.Directory, challenge, nameserverAddress, keyName, ca, strings.Join(more, "\n"))
	s.Cluster.Kubectl(t, text, "apply", "-f", "-")
}

// ready waits until the Issuer is.
func (s *scene) ready(t *testing.T, issuer string) {
	t.Helper()
	s.Cluster.Kubectl(t, "", "wait", "--for=condition=Ready", "--timeout="+patience.String(), "issuer/"+issuer)
}

// apply applies an Ingress that asks an Issuer for a certificate for the names,
// which lead to the Envoys.
func (s *scene) apply(t *testing.T, name, issuer string, names ...string) {
	t.Helper()
	for _, host := range names {
		s.names.Add(t, host+". 60 IN A 127.0.0.1")
	}
	s.applyOnly(t, name, issuer, names...)
}

func (s *scene) applyOnly(t *testing.T, name, issuer string, names ...string) {
	t.Helper()
	var rules strings.Builder
	for _, host := range names {
		fmt.Fprintf(&rules, "  - {host: \"%s\", http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}\n", host)
	}
	s.Cluster.Kubectl(t, fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: %s
  annotations: {fairway.dev/issuer: %s}
spec:
  ingressClassName: %s
  tls: [{hosts: ["%s"], secretName: %s-tls}]
  rules:
%s`, name, issuer, class, strings.Join(names, `", "`), name, rules.String()), "apply", "-f", "-")
}

// presents is a check for Eventually: whichever Envoy is asked shows a
// certificate of the authority for the name. It returns the serial by which.
func (s *scene) presents(name string, serial *string) func(context.Context) error {
	return func(ctx context.Context) error {
		for range 8 { // the kernel spreads connections over the Envoys
			conn, err := fairway.Handshake(ctx, name, nil)
			if err != nil {
				return err
			}
			shown := conn.ConnectionState().PeerCertificates
			if err := conn.Close(); err != nil {
				return err
			}
			if err := s.trusts(name, shown); err != nil {
				return err
			}
			*serial = shown[0].SerialNumber.Text(16)
		}
		return nil
	}
}

func (s *scene) trusts(name string, shown []*x509.Certificate) error {
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{DNSName: name, Roots: s.roots, Intermediates: between})
	return err
}

// issued waits until a certificate for the name is shown, and returns its serial
// number.
func (s *scene) issued(t *testing.T, name string) (serial string) {
	t.Helper()
	fairway.Eventually(t, patience, s.presents(name, &serial))
	return serial
}

// secret is that of a certificate.
func (s *scene) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	if err := s.Client.Get(t.Context(), client.ObjectKey{Namespace: fairway.Namespace, Name: name}, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// says is a check for Eventually: what kubectl prints has all these words.
func (s *scene) says(words []string, args ...string) func(context.Context) error {
	return func(context.Context) error {
		text, err := s.Cluster.TryKubectl("", args...)
		if err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(text, word) {
				return fmt.Errorf("kubectl %s does not say %q:\n%s", strings.Join(args, " "), word, text)
			}
		}
		return nil
	}
}

// leader is the index of the replica that leads.
func (s *scene) leader(t *testing.T) (led int) {
	t.Helper()
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		for i, replica := range s.Replicas {
			if replica.Says("fairway_leader 1")(ctx) == nil {
				led = i
				return nil
			}
		}
		return fmt.Errorf("nobody leads")
	})
	return led
}

// orders are the Secrets of orders that are under way.
func (s *scene) orders(ctx context.Context) ([]corev1.Secret, error) {
	var list corev1.SecretList
	err := s.Client.List(ctx, &list, client.InNamespace(namespace), client.HasLabels{"fairway.dev/acme-order"})
	return list.Items, err
}

// idle is a check for Eventually: nothing is being ordered.
func (s *scene) idle(ctx context.Context) error {
	orders, err := s.orders(ctx)
	if err == nil && len(orders) > 0 {
		err = fmt.Errorf("%d orders are under way", len(orders))
	}
	return err
}

// tolerate takes for expected what the authority says of a name that it refuses.
func (s *scene) tolerate() {
	for _, replica := range s.Replicas {
		replica.Tolerate("is a forbidden domain")
	}
}

// restart starts a controller again.
func (s *scene) restart(t *testing.T, i int) {
	t.Helper()
	s.RestartReplica(t, i)
	s.tolerate()
}
