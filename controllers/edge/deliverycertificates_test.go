package edge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

// A fault with a certificate is a Problem on the Ingresses that ask for it, until
// it is over. For the default certificate, the Problem is on its Secret.
func TestACertificateThatIsNotServedIsAProblem(t *testing.T) {
	w := newWorld()
	asks, asksNot := ingressOf("shop.test", "cart"), ingressOf("other.test", "cart")
	asks.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"shop.test"}, SecretName: "shop"}}
	w.Apply(asks, asksNot)
	w.Sync()
	s := start(t.Context(), t, w)
	before := summaries(s.controllers.Reporter)
	d, _ := deliveryOf(t, s)
	d.DefaultCertificate = types.NamespacedName{Namespace: "fairway-system", Name: "default"}
	host, fallback := keyOf("shop.test"), keyOf(route.AnyHost)
	for _, c := range []struct {
		name string
		tell func(detail string)
		want string
	}{
		{"not served", func(detail string) { d.CertificateNotServed(host, detail) }, "Ingress shop/shop.test CertificateNotServed"},
		{"refused", func(detail string) { d.CertificateRejected(host, detail) }, "Ingress shop/shop.test RejectedByEnvoy"},
		{"the default one not served", func(detail string) { d.CertificateNotServed(fallback, detail) }, "Secret fairway-system/default CertificateNotServed"},
		{"the default one refused", func(detail string) { d.CertificateRejected(route.Key{Host: route.AnyHost}, detail) }, "Secret fairway-system/default RejectedByEnvoy"},
	} {
		c.tell("what Envoy says")
		found := summaries(s.controllers.Reporter)
		if len(found) != len(before)+1 || !strings.Contains(strings.Join(found, "\n"), c.want) {
			t.Errorf("%s: problems %q, want besides %q that %q", c.name, found, before, c.want)
		}
		told := false
		for _, p := range s.controllers.Reporter.Problems() {
			told = told || strings.Contains(p.Message, "what Envoy says")
		}
		if !told {
			t.Errorf("%s: nobody is told what Envoy says", c.name)
		}
		c.tell("")
		if diff := cmp.Diff(before, summaries(s.controllers.Reporter)); diff != "" {
			t.Errorf("%s: problems when it is over (-want +got)\n%s", c.name, diff)
		}
	}
}
