package ingress_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestTLSSettings(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"-v"}, Before: func(r *fairway.Installation) { r.InstallCustomResources(t) }})
	authority := fairway.NewAuthority(t)
	for _, feature := range []struct {
		name string
		test func(*site, *fairway.Authority)
	}{
		{"verified backends", testVerifiedBackends},
		{"backends that cannot be verified", testUnverifiableBackends},
		{"HSTS", testHSTS},
		{"HTTP/3", testHTTP3},
	} {
		t.Run(feature.name, func(t *testing.T) { feature.test(newSite(t, r), authority) })
	}
}

// configure gives the gateway settings of TLS until the test ends.
func (s *site) configure(options v1alpha1.TLS) *v1alpha1.ClusterGatewayConfig {
	s.Helper()
	config := &v1alpha1.ClusterGatewayConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	config.Spec.TLS = &options
	s.create(config)
	return config
}

// tlsBackend serves HTTPS with a certificate that can be changed.
type tlsBackend struct {
	*httptest.Server

	ip          string
	certificate atomic.Pointer[tls.Certificate]
}

func (s *site) tlsBackend(name string) *tlsBackend {
	s.Helper()
	b := &tlsBackend{Server: httptest.NewUnstartedServer(fairway.Named(name)), ip: s.fairway.Address()}
	b.Listener.Close()
	var err error
	if b.Listener, err = net.Listen("tcp", net.JoinHostPort(b.ip, strconv.Itoa(fairway.BackendPort))); err != nil {
		s.Fatal(err)
	}
	b.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that shall fail
	b.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return b.certificate.Load(), nil
	}}
	b.StartTLS()
	s.Cleanup(b.Close)
	return b
}

// eventually waits until a request over a new connection to the backend is
// answered so: those that are open were verified when they were opened.
func (b *tlsBackend) eventually(s *site, host, path, want string) {
	s.Helper()
	fairway.Eventually(s, patience, func(ctx context.Context) error {
		b.CloseClientConnections()
		return answered(host, path, want)(ctx)
	})
}

// presents makes the backend present a new certificate for a name.
func (b *tlsBackend) presents(s *site, authority *fairway.Authority, name string) {
	s.Helper()
	pair, err := tls.X509KeyPair(authority.Issue(s, fairway.Wish{Names: []string{name}}))
	if err != nil {
		s.Fatal(err)
	}
	b.certificate.Store(&pair)
}

// tlsService is a Service that speaks TLS.
func tlsService(name string, annotations map[string]string) *corev1.Service {
	service := fairway.Service(name)
	service.Annotations = annotations
	service.Spec.Ports[0].AppProtocol = new("https")
	return service
}

// roots is a Secret with the certificate of an authority, of a type that a watch
// tells of or of another one.
func roots(s *site, name string, authority *fairway.Authority, kind corev1.SecretType) *corev1.Secret {
	s.Helper()
	secret := authority.Secret(s, name, fairway.Wish{Names: []string{"unused.test"}})
	secret.Type = kind
	if kind == corev1.SecretTypeOpaque {
		secret.Data = map[string][]byte{}
	}
	secret.Data[route.CAKey] = authority.PEM()
	return secret
}

// A backend is verified as its Service asks: by a Secret of either kind, for its
// own name or a given one; and when who vouches changes, that counts.
func testVerifiedBackends(s *site, authority *fairway.Authority) {
	b := s.tlsBackend("pay")
	b.presents(s, authority, "pay."+s.namespace+".svc")
	trusted := roots(s, "watched", authority, corev1.SecretTypeTLS)
	s.create(trusted, roots(s, "opaque", authority, corev1.SecretTypeOpaque),
		tlsService("pay", map[string]string{route.AnnotationBackendCA: "watched"}), fairway.Slice("pay", b.ip),
		tlsService("opaque", map[string]string{route.AnnotationBackendCA: "opaque", route.AnnotationBackendSNI: "pay." + s.namespace + ".svc"}),
		fairway.Slice("opaque", b.ip),
		withRules("pay", rule("pay.test", "/", "pay", "/opaque", "opaque")))
	s.eventually("pay.test", "/", "pay")
	s.eventually("pay.test", "/opaque", "pay")

	// Another one vouches from now on, and the backend has not heard of it.
	other := fairway.NewAuthority(s)
	change(s, trusted, func(o *corev1.Secret) { o.Data[route.CAKey] = other.PEM() })
	b.eventually(s, "pay.test", "/", unavailable)
	b.presents(s, other, "pay."+s.namespace+".svc")
	s.eventually("pay.test", "/", "pay")
	b.presents(s, other, "elsewhere."+s.namespace+".svc")
	b.eventually(s, "pay.test", "/", unavailable)
	b.presents(s, other, "pay."+s.namespace+".svc")
	s.eventually("pay.test", "/", "pay")
}

// Who cannot be verified is not spoken to, and his Service has a Problem; when it
// is mended, he is.
func testUnverifiableBackends(s *site, authority *fairway.Authority) {
	b := s.tlsBackend("pay")
	b.presents(s, authority, "pay."+s.namespace+".svc")
	service := tlsService("pay", map[string]string{route.AnnotationBackendCA: "late"})
	s.create(service, fairway.Slice("pay", b.ip), withRules("pay", rule("late.test", "/", "pay")))
	s.eventually("late.test", "/", unavailable)
	fairway.Eventually(s, patience, s.said("pay", string(route.ReasonSecretNotFound), "Secret late does not exist"))
	late := roots(s, "late", authority, corev1.SecretTypeTLS)
	s.create(late)
	s.eventually("late.test", "/", "pay")
	fairway.Eventually(s, patience, s.fairway.NoMetric("fairway_problems"))
	for reason, broken := range map[string][]byte{
		string(route.ReasonSecretInvalid):      nil,
		string(route.ReasonCertificateInvalid): []byte("nothing"),
	} {
		change(s, late, func(o *corev1.Secret) { o.Data[route.CAKey] = broken })
		b.eventually(s, "late.test", "/", unavailable)
		fairway.Eventually(s, patience, s.fairway.Metric(fmt.Sprintf(`fairway_problems{kind="Service",reason="%s"} 1`, reason)))
	}
	change(s, late, func(o *corev1.Secret) { o.Data[route.CAKey] = authority.PEM() })
	s.eventually("late.test", "/", "pay")
	change(s, service, func(o *corev1.Service) { o.Annotations[route.AnnotationBackendCA] = "Not/a/name" })
	s.eventually("late.test", "/", unavailable)
	fairway.Eventually(s, patience, s.fairway.Metric(`fairway_problems{kind="Ingress",reason="BackendTLS"} 1`))
	change(s, service, func(o *corev1.Service) { o.Annotations = nil })
	s.eventually("late.test", "/", "pay")
	fairway.Eventually(s, patience, s.fairway.NoMetric("fairway_problems"))
}

// hsts is a check for fairway.Eventually: what a host says over HTTPS.
func hsts(host, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := fairway.GetTLS(ctx, host, "/")
		if got := a.Header.Get("Strict-Transport-Security"); err == nil && (got != want || a.Status != http.StatusOK) {
			err = fmt.Errorf("%s: %d, %q; want %q", host, a.Status, got, want)
		}
		return err
	}
}

// The gateway's word counts for hosts with TLS, an Ingress's before it.
func testHSTS(s *site, authority *fairway.Authority) {
	s.backends("shop")
	own := withRules("own", rule("own.hsts.test", "/", "shop"))
	own.Annotations = map[string]string{route.AnnotationHSTS: "max-age=60"}
	s.create(authority.Secret(s, "all", fairway.Wish{Names: []string{"*.hsts.test"}}), overTLS(own, "all"),
		overTLS(withRules("all", rule("all.hsts.test", "/", "shop")), "all"), withRules("plain", rule("plain.test", "/", "shop")))
	fairway.Eventually(s, patience, hsts("own.hsts.test", "max-age=60"))
	fairway.Eventually(s, patience, hsts("all.hsts.test", ""))
	s.configure(v1alpha1.TLS{HSTS: &v1alpha1.HSTS{MaxAge: 600}})
	fairway.Eventually(s, patience, hsts("all.hsts.test", "max-age=600"))
	fairway.Eventually(s, patience, hsts("own.hsts.test", "max-age=60"))
	fairway.Eventually(s, patience, hsts("plain.test", ""))
	change(s, own, func(o *networkingv1.Ingress) { o.Annotations[route.AnnotationHSTS] = "off" })
	fairway.Eventually(s, patience, hsts("own.hsts.test", ""))
	change(s, own, func(o *networkingv1.Ingress) { o.Annotations[route.AnnotationHSTS] = "always" })
	fairway.Eventually(s, patience, hsts("own.hsts.test", "max-age=600"))
	fairway.Eventually(s, patience, s.said("own", string(route.ReasonInvalidAnnotation), `"always" is none of`))
}

// HTTP/3 is served when it is switched on; certificates are replaced, and hosts
// added, without closing a connection.
func testHTTP3(s *site, authority *fairway.Authority) {
	s.backends("shop")
	before := authority.Secret(s, "shop", fairway.Wish{Names: []string{"h3.test"}})
	wildcard := authority.Secret(s, "wildcard", fairway.Wish{Names: []string{"*.h3.test"}})
	s.create(before, wildcard, overTLS(withRules("shop", rule("h3.test", "/", "shop")), "shop"),
		overTLS(withRules("wildcard", rule("*.h3.test", "/", "shop")), "wildcard"))
	fairway.Eventually(s, patience, fairway.Presents("h3.test", before))
	s.configure(v1alpha1.TLS{HTTP3: new(true)})
	fairway.Eventually(s, patience, fairway.AnswersHTTP3("h3.test", "/", "shop", before))
	fairway.Eventually(s, patience, fairway.AnswersHTTP3("a.h3.test", "/", "shop", wildcard))
	a, err := fairway.GetTLS(s.Context(), "h3.test", "/")
	if got := a.Header.Get("Alt-Svc"); err != nil || got != `h3=":443"; ma=3600` {
		s.Errorf("over HTTPS: %q, %v", got, err)
	}
	open := fairway.NewHTTP3("h3.test")
	defer open.Close()
	use := func() {
		s.Helper()
		if a, _, err := open.Get(s.Context(), "h3.test", "/"); err != nil || a.Header.Get("Backend") != "shop" {
			s.Errorf("a connection that was open: %+v, %v", a, err)
		}
	}
	use()
	after := before.DeepCopy()
	after.Data = authority.Secret(s, "shop", fairway.Wish{Names: []string{"h3.test"}}).Data
	begin := time.Now()
	update(s, after)
	fairway.Eventually(s, patience, fairway.AnswersHTTP3("h3.test", "/", "shop", after))
	s.Logf("a rotated certificate was served over HTTP/3 after %s", time.Since(begin))
	use()
	begin = time.Now()
	added := authority.Secret(s, "added", fairway.Wish{Names: []string{"added.test"}})
	s.create(added, overTLS(withRules("added", rule("added.test", "/", "shop")), "added"))
	fairway.Eventually(s, patience, fairway.AnswersHTTP3("added.test", "/", "shop", added))
	s.Logf("a new host was served over HTTP/3 after %s", time.Since(begin))
	use()
	s.delete(added)
	use()
}
