package ingress_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
)

// start brings a Road up that has the class.
func start(t *testing.T, options fairway.Options) *fairway.Installation {
	t.Helper()
	before := options.Before
	options.Before = func(r *fairway.Installation) {
		r.Create(t, fairway.Class(class))
		if before != nil {
			before(r)
		}
	}
	// Clients use the ports that URLs need not name, and are led to Envoy's.
	options.Flags = append(options.Flags, "--public-http-port=80", "--public-https-port=443")
	return fairway.Start(t, options)
}

// site is a namespace of a Road, for one test: what is created in it is deleted
// with the test.
type site struct {
	*testing.T
	fairway   *fairway.Installation
	namespace string
}

func newSite(t *testing.T, r *fairway.Installation) *site {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "site-"}}
	r.Create(t, namespace)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what happened last:\n%s", r.Timeline.Last(200))
		}
	})
	return &site{T: t, fairway: r, namespace: namespace.Name}
}

// create creates objects in the namespace until the test ends.
func (s *site) create(objects ...client.Object) {
	s.Helper()
	for _, o := range objects {
		switch o.(type) {
		case *networkingv1.IngressClass, *v1alpha1.ClusterGatewayConfig:
		default:
			o.SetNamespace(s.namespace)
		}
		s.fairway.Create(s, o)
		s.Cleanup(func() {
			if err := client.IgnoreNotFound(s.fairway.Client.Delete(context.Background(), o)); err != nil {
				s.Errorf("delete %T %s: %v", o, o.GetName(), err)
			}
		})
	}
}

func (s *site) delete(objects ...client.Object) {
	s.Helper()
	for _, o := range objects {
		if err := s.fairway.Client.Delete(s.Context(), o); err != nil {
			s.Fatalf("delete %T %s: %v", o, o.GetName(), err)
		}
	}
}

// change changes an object as it is now.
func change[O client.Object](s *site, object O, how func(O)) {
	s.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := s.fairway.Client.Get(s.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		how(object)
		return s.fairway.Client.Update(s.Context(), object)
	})
	if err != nil {
		s.Fatalf("change %T %s: %v", object, object.GetName(), err)
	}
}

// nextSecond waits for the next second, so that objects are younger than those
// before: between two Ingresses of one second, the namespace's name decides.
func (s *site) nextSecond() {
	s.Helper()
	began := time.Now().Truncate(time.Second)
	fairway.Eventually(s, patience, func(context.Context) error {
		if !time.Now().Truncate(time.Second).After(began) {
			return errors.New("the second is not over")
		}
		return nil
	})
}

// kubectl runs kubectl in the namespace.
func (s *site) kubectl(stdin string, args ...string) string {
	s.Helper()
	return s.fairway.Cluster.Kubectl(s, stdin, append([]string{"--namespace", s.namespace}, args...)...)
}

// endpoint is the address of a new backend of that name.
func (s *site) endpoint(name string) string {
	s.Helper()
	ip := s.fairway.Address()
	fairway.Backend(s, name, ip)
	return ip
}

// speaker is the address of a new backend whose name is the protocol that is
// spoken to it.
func (s *site) speaker() string {
	s.Helper()
	ip := s.fairway.Address()
	fairway.Serve(s, ip, fairway.BackendPort, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fairway.Named(r.Proto).ServeHTTP(w, r)
	}))
	return ip
}

// backends creates Services with one endpoint each, which name themselves in
// what they answer.
func (s *site) backends(names ...string) {
	s.Helper()
	for _, name := range names {
		s.create(fairway.Service(name), fairway.Slice(name, s.endpoint(name)))
	}
}

// ingress is an Ingress of the class without rules.
func ingress(name string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       networkingv1.IngressSpec{IngressClassName: new(class)},
	}
}

// rule sends paths of a host to Services: "/cart" is a Prefix, "=/cart" Exact,
// "~/cart" ImplementationSpecific. Pairs of path and Service.
func rule(host string, pathsAndServices ...string) networkingv1.IngressRule {
	http := &networkingv1.HTTPIngressRuleValue{}
	for i := 0; i < len(pathsAndServices); i += 2 {
		http.Paths = append(http.Paths, path(pathsAndServices[i], pathsAndServices[i+1]))
	}
	return networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: http}}
}

func path(text, service string) networkingv1.HTTPIngressPath {
	p := fairway.Path(strings.TrimLeft(text, "=~"), service)
	switch text[:1] {
	case "=":
		p.PathType = new(networkingv1.PathTypeExact)
	case "~":
		p.PathType = new(networkingv1.PathTypeImplementationSpecific)
	}
	return p
}

// withRules is an Ingress of the class with rules.
func withRules(name string, rules ...networkingv1.IngressRule) *networkingv1.Ingress {
	i := ingress(name)
	i.Spec.Rules = rules
	return i
}

func backendOf(service string) *networkingv1.IngressBackend {
	return &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
	}}
}

// slice is fairway.Slice with conditions: "ready", "not ready", "draining" (serves
// while it terminates), "gone" (terminates and does not serve).
func slice(service, condition string, ips ...string) *discoveryv1.EndpointSlice {
	made := fairway.Slice(service, ips...)
	for i := range made.Endpoints {
		made.Endpoints[i].Conditions = conditions(condition)
	}
	return made
}

func conditions(name string) discoveryv1.EndpointConditions {
	switch name {
	case "ready":
		return discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}
	case "not ready":
		return discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(false)}
	case "draining":
		return discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	default:
		return discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(true)}
	}
}

// What a request may be answered with, for eventually and now: the name of a
// backend, or one of these.
const (
	notFound    = "404"
	unavailable = "503"
)

// eventually waits until a request is answered by that backend or with that
// status.
func (s *site) eventually(host, path, want string) {
	s.Helper()
	fairway.Eventually(s, patience, answered(host, path, want))
}

// now demands that a request is answered so at once: of what has been true
// before, and must still be.
func (s *site) now(host, path, want string) {
	s.Helper()
	if err := answered(host, path, want)(s.Context()); err != nil {
		s.Error(err)
	}
}

// answered is a check for fairway.Eventually.
func answered(host, path, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := fairway.Get(ctx, host, path)
		if err != nil {
			return fmt.Errorf("%s%s: %w", host, path, err)
		}
		got := a.Header.Get("Backend")
		if a.Status != http.StatusOK || got == "" {
			got = fmt.Sprint(a.Status)
		}
		if got != want {
			return fmt.Errorf("%s%s: %s answers, want %s", host, path, got, want)
		}
		return nil
	}
}
