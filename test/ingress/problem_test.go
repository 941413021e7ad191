package ingress_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
)

// mistake is objects with one mistake, and on which of them it is reported.
type mistake struct {
	reason  problem.Reason
	on      string // kind/name
	objects []client.Object
}

// mistakes is one of every kind that the API server lets through. It refuses
// the others of xds/route (EmptyIngress, InvalidHost, InvalidPathType,
// BackendInvalid), which only manifests in a folder can have.
func mistakes() []mistake {
	on := func(reason problem.Reason, how func(*networkingv1.Ingress), objects ...client.Object) mistake {
		name := strings.ToLower(string(reason))
		broken := withRules(name, rule(name+".wrong.test", "/", "shop", "/more", "shop"))
		how(broken)
		return mistake{reason, "Ingress/" + name, append(objects, broken)}
	}
	backend := func(i *networkingv1.Ingress) *networkingv1.IngressBackend {
		return &i.Spec.Rules[0].HTTP.Paths[1].Backend
	}
	annotate := func(name, value string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) { i.Annotations = map[string]string{name: value} }
	}
	extra := func(path string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[1].Path = path }
	}
	fqdn := fairway.Slice("names", "not.an.address")
	fqdn.AddressType = "FQDN"
	local := fairway.Slice("local", "64:ff9b::7f00:1") // 127.0.0.1 by NAT64; the API server refuses plainer ones
	local.AddressType = "IPv6"
	mysql := fairway.Service("mysql")
	mysql.Spec.Ports[0].AppProtocol = new("mysql")
	external := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "external"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, ExternalName: "elsewhere.test",
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
	}}
	portless := fairway.Slice("portless", "10.77.127.1")
	portless.Ports[0].Name = new("other")
	return []mistake{
		on(route.ReasonSecretNotFound, func(i *networkingv1.Ingress) {
			i.Annotations = map[string]string{route.AnnotationSSLRedirect: "false"}
			i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{i.Spec.Rules[0].Host}, SecretName: "certificate"}}
		}),
		on(route.ReasonUnknownAnnotation, annotate("fairway.dev/max-request-boody", "1Mi")),
		on(route.ReasonInvalidAnnotation, annotate(route.AnnotationMaxRequestBody, "much")),
		on(route.ReasonNoPaths, func(i *networkingv1.Ingress) {
			i.Spec.Rules = append(i.Spec.Rules, networkingv1.IngressRule{Host: "nopaths-2.wrong.test"})
		}),
		on(route.ReasonInvalidPath, extra("/"+strings.Repeat("long/", 2000))),
		on(route.ReasonUnreachablePath, extra("/a?b")),
		on(route.ReasonRegexPath, extra("/api/.*")),
		on(route.ReasonDuplicatePath, func(i *networkingv1.Ingress) {
			again := path("/more/", "another")
			i.Spec.Rules[0].HTTP.Paths = append(i.Spec.Rules[0].HTTP.Paths, again)
		}, fairway.Service("another")),
		on(route.ReasonPathConflict, func(i *networkingv1.Ingress) {
			i.Spec.Rules = append(i.Spec.Rules, rule("good-0.wrong.test", "/", "shop"))
		}),
		on(route.ReasonBackendNotFound, func(i *networkingv1.Ingress) { backend(i).Service.Name = "nowhere" }),
		on(route.ReasonBackendUnsupported, func(i *networkingv1.Ingress) {
			*backend(i) = networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{
				APIGroup: new("example.com"), Kind: "Bucket", Name: "static",
			}}
		}),
		{route.ReasonDefaultBackendConflict, "Ingress/z-default", []client.Object{
			func() client.Object {
				first := ingress("a-default")
				first.Spec.DefaultBackend = backendOf("shop")
				return first
			}(),
			func() client.Object {
				second := withRules("z-default", rule("defaultbackendconflict.wrong.test", "/", "shop"))
				second.Spec.DefaultBackend = backendOf("shop")
				return second
			}(),
		}},
		{route.ReasonInvalidEndpoint, "EndpointSlice/names", []client.Object{
			fairway.Service("names"), fqdn, withRules("names", rule("invalidendpoint.wrong.test", "/", "shop", "/more", "names")),
		}},
		{route.ReasonBackendNotAllowed, "EndpointSlice/local", []client.Object{
			fairway.Service("local"), local, withRules("local", rule("backendnotallowed.wrong.test", "/", "shop", "/more", "local")),
		}},
		{route.ReasonUnknownAppProtocol, "Service/mysql", []client.Object{
			mysql, withRules("mysql", rule("unknownappprotocol.wrong.test", "/", "shop", "/more", "mysql")),
		}},
		{route.ReasonUnusedTargetPort, "Service/external", []client.Object{
			external, withRules("external", rule("unusedtargetport.wrong.test", "/", "shop", "/more", "external")),
		}},
		{route.ReasonNoEndpointPort, "Service/portless", []client.Object{
			fairway.Service("portless"), portless, withRules("portless", rule("noendpointport.wrong.test", "/", "shop", "/more", "portless")),
		}},
	}
}

// A mistake costs only itself: a hundred good Ingresses come, change and go
// beside one broken of every kind, and of the broken ones the rest is served.
// Each mistake is told once, on its object, and counted.
func testProblems(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("shop", "other")
	var good []*networkingv1.Ingress
	broken := mistakes()
	for i := range 100 {
		name := fmt.Sprintf("good-%d", i)
		good = append(good, withRules(name, rule(name+".wrong.test", "/", "shop")))
		s.create(good[i])
		if i < len(broken) {
			s.create(broken[i].objects...)
		}
	}
	for _, i := range good {
		s.eventually(i.Spec.Rules[0].Host, "/", "shop")
	}
	for _, m := range broken {
		s.eventually(strings.ToLower(string(m.reason))+".wrong.test", "/", "shop")
		kind, _, _ := strings.Cut(m.on, "/")
		fairway.Eventually(t, patience, r.Metric(fmt.Sprintf(`fairway_problems{kind="%s",reason="%s"} 1`, kind, m.reason)))
	}
	for _, m := range broken {
		fairway.Eventually(t, patience, s.told(m, 1))
	}

	// Everything good changes; everything broken is looked at once more. (The
	// new host sorts last: mistakes of a whole Ingress are kept with its first.)
	for _, i := range good {
		change(s, i, func(o *networkingv1.Ingress) { o.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = "other" })
	}
	for _, m := range broken {
		o, ok := m.objects[len(m.objects)-1].(*networkingv1.Ingress)
		if !ok {
			continue
		}
		change(s, o, func(o *networkingv1.Ingress) {
			o.Spec.Rules = append(o.Spec.Rules, rule("zz-"+o.Spec.Rules[0].Host, "/", "shop"))
		})
		s.eventually("zz-"+strings.ToLower(string(m.reason))+".wrong.test", "/", "shop")
	}
	for _, i := range good {
		s.eventually(i.Spec.Rules[0].Host, "/", "other")
	}
	for _, m := range broken {
		fairway.Eventually(t, patience, s.told(m, 1))
	}

	for _, m := range broken {
		s.delete(m.objects...)
	}
	for _, m := range broken {
		s.eventually(strings.ToLower(string(m.reason))+".wrong.test", "/", notFound)
	}
	fairway.Eventually(t, patience, r.NoMetric("fairway_problems"))
	for _, i := range good {
		s.now(i.Spec.Rules[0].Host, "/", "other")
	}
}

// told is a check for fairway.Eventually: the object of a mistake has that many
// events for it, and of no other reason.
func (s *site) told(m mistake, times int32) func(context.Context) error {
	return func(ctx context.Context) error {
		var list corev1.EventList
		if err := s.fairway.Client.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		kind, name, _ := strings.Cut(m.on, "/")
		var got int32
		for _, e := range list.Items {
			if o := e.InvolvedObject; o.Kind != kind || o.Name != name {
				continue
			}
			if e.Reason != string(m.reason) || e.Type != corev1.EventTypeWarning {
				return fmt.Errorf("%s: an event %s %s: %s", m.on, e.Type, e.Reason, e.Message)
			}
			got += max(e.Count, 1)
		}
		if got != times {
			return fmt.Errorf("%s has %d events %s, want %d", m.on, got, m.reason, times)
		}
		return nil
	}
}
