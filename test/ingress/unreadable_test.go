package ingress_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
)

// gate stands before the API server, and answers requests for Secrets of one
// namespace itself while it has something to say.
type gate struct {
	says atomic.Pointer[http.HandlerFunc]
}

// requestForSecrets is a path of those that ask for a Secret by its name, or for
// those of one namespace: all but the watch. Secrets of the controller's own
// namespace are not meant.
var requestForSecrets = regexp.MustCompile(`^/api/v1/namespaces/site-[^/]+/secrets`)

// before is the gate as an API server.
func (g *gate) before(t *testing.T) func(*rest.Config) *rest.Config {
	return func(config *rest.Config) *rest.Config {
		to, err := url.Parse(config.Host)
		if err != nil {
			t.Fatal(err)
		}
		transport, err := rest.TransportFor(config)
		if err != nil {
			t.Fatal(err)
		}
		proxy := &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
			Transport:     transport,
			FlushInterval: -1, // a watch
			ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if says := g.says.Load(); says != nil && requestForSecrets.MatchString(r.URL.Path) {
				(*says)(w, r)
				return
			}
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(server.CloseClientConnections)
		t.Cleanup(server.Close)
		return &rest.Config{Host: server.URL}
	}
}

// say makes the gate answer so; nil: not at all.
func (g *gate) say(answer http.HandlerFunc) func(*site) {
	return func(*site) {
		if answer == nil {
			g.says.Store(nil)
			return
		}
		g.says.Store(&answer)
	}
}

func busy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "too many requests", http.StatusTooManyRequests)
}

func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func broken(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "etcdserver: no leader", http.StatusInternalServerError)
}

// permitGet lets the controller read Secrets by their names, or forbids it.
func permitGet(allowed bool) func(*site) {
	return func(s *site) {
		s.Helper()
		change(s, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "fairway-controller"}}, func(o *rbacv1.ClusterRole) {
			for i := range o.Rules {
				if rule := &o.Rules[i]; slices.Contains(rule.Resources, "secrets") {
					rule.Verbs = []string{"list", "watch"}
					if allowed {
						rule.Verbs = append(rule.Verbs, "get")
					}
				}
			}
		})
	}
}

// Secrets that the API server does not give cost the hosts and Services that need
// them, from the start of a controller on, and no others. They have a Problem, and
// are served when it does.
func TestUnreadableSecrets(t *testing.T) {
	g := &gate{}
	r := start(t, fairway.Options{Flags: []string{"-v"}, Record: true, APIServer: g.before(t)})
	s := newSite(t, r)
	authority := fairway.NewAuthority(t)
	alice := authority.Client(t, "alice")
	b := s.tlsBackend("pay")
	b.presents(s, authority, "pay."+s.namespace+".svc")
	s.backends("shop")
	shown := authority.Secret(s, "shown", fairway.Wish{Names: []string{"shown.test"}})
	shown.Type = corev1.SecretTypeOpaque
	s.create(
		shown, roots(s, "staff-ca", authority, corev1.SecretTypeOpaque), roots(s, "roots", authority, corev1.SecretTypeOpaque),
		tlsService("pay", map[string]string{route.AnnotationBackendCA: "roots"}), fairway.Slice("pay", b.ip),
		withRules("open", rule("open.test", "/", "shop")), withRules("pay", rule("pay.test", "/", "pay")),
		annotated(withRules("staff", rule("staff.test", "/", "shop")), route.AnnotationClientCA, "staff-ca"),
		overTLS(withRules("shown", rule("shown.test", "/", "shop")), "shown", "shown.test"),
	)
	good := []func(context.Context) error{
		r.Ready, answered("open.test", "/", "shop"), answered("pay.test", "/", "pay"),
		answeredTo(alice, "staff.test", "staff.test", "shop alice"), fairway.Presents("shown.test", shown), r.NoMetric("fairway_problems"),
	}
	s.soon(good...)
	for i, fault := range []struct {
		name       string
		begin, end func(*site)
	}{
		{"forbidden", permitGet(false), permitGet(true)},
		{"too many requests", g.say(busy), g.say(nil)},
		{"no answer", g.say(silent), g.say(nil)},
		{"an error", g.say(broken), g.say(nil)},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s := &site{T: t, fairway: r, namespace: s.namespace}
			fault.begin(s)
			defer fault.end(s)
			r.Controller.Kill()
			r.StartController(t)
			r.Controller.Tolerate("forbidden")
			s.soon(
				r.Ready,
				r.Metric(`fairway_problems{kind="Ingress",reason="SecretUnreadable"} 2`),
				r.Metric(`fairway_problems{kind="Service",reason="SecretUnreadable"} 1`),
				answered("open.test", "/", "shop"),
				answeredTo(alice, "staff.test", "staff.test", "refused"),
				answeredTo(nil, "open.test", "open.test", "shop"),
				fairway.PresentsDefault("shown.test"),
			)
			b.eventually(s, "pay.test", "/", unavailable)
			// What the watch brings is served meanwhile.
			late := fmt.Sprintf("late-%d.test", i)
			watched := authority.Secret(s, "late", fairway.Wish{Names: []string{late}})
			s.create(overTLS(withRules("late", rule(late, "/", "shop")), "late"))
			s.soon(answered(late, "/", "308"))
			s.create(watched)
			s.soon(fairway.Presents(late, watched))

			fault.end(s)
			fairway.Eventually(t, 2*patience, r.NoMetric("fairway_problems"))
			s.soon(good...)

			// A running controller goes on with what it knows.
			fault.begin(s)
			change(s, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "staff"}}, func(o *networkingv1.Ingress) {
				o.Spec.Rules = append(o.Spec.Rules, rule("more.staff.test", "/", "shop"))
			})
			s.soon(answeredTo(alice, "more.staff.test", "more.staff.test", "shop alice"), answered("pay.test", "/", "pay"),
				answeredTo(alice, "staff.test", "staff.test", "shop alice"), fairway.Presents("shown.test", shown))
			fault.end(s)
			change(s, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "staff"}}, func(o *networkingv1.Ingress) {
				o.Spec.Rules = o.Spec.Rules[:1]
			})
			fairway.Eventually(t, 2*patience, r.NoMetric("fairway_problems"))
		})
	}
}
