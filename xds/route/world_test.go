package route_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/xds/route"
)

// world is a cluster's objects, as far as this package reads them.
type world struct {
	classes   []*networkingv1.IngressClass
	ingresses []*networkingv1.Ingress
	services  []*corev1.Service
	slices    []*discoveryv1.EndpointSlice
	configs   map[route.Gateway]v1alpha1.GatewayConfigSpec
	local     bool // backends may be local

	challenges map[route.Key][]route.Challenge
}

// picture is all that is served, and all that is wrong.
type picture struct {
	Hosts    map[route.Key]*route.Host
	Backends map[route.ServicePort]*route.Backend
	Gateways map[route.Gateway]route.Settings // of each configuration
	Problems []problem.Problem
}

// build is the first pass: it finds all keys and builds them all.
func (w world) build() picture {
	made := picture{Hosts: map[route.Key]*route.Host{}, Backends: map[route.ServicePort]*route.Backend{}}
	w.buildGateways(&made)
	services := w.servicesByName()
	keys := w.keys()
	for key, ingresses := range keys {
		host, problems := route.Build(key, route.Objects{
			Ingresses: ingresses, Services: services,
			Challenges: w.challenges[key], Wider: wider(key, keys, services), LocalBackends: w.local,
		})
		made.Problems = append(made.Problems, problems...)
		if host == nil {
			continue
		}
		made.Hosts[key] = host
		for _, port := range route.PortsOf(host) {
			backend, problems := route.BuildBackend(port, services[port.Service], w.slices, w.local)
			made.Problems = append(made.Problems, problems...)
			made.Backends[port] = backend
		}
	}
	made.Problems = problem.Sort(made.Problems)
	return made
}

// wider is what serves requests for the host of key if no Ingress names it.
func wider(
	key route.Key, keys map[route.Key][]*networkingv1.Ingress, services map[types.NamespacedName]*corev1.Service,
) *route.Host {
	wildcard, _ := key.Host.Wildcard()
	for _, host := range []route.Hostname{wildcard, route.AnyHost} {
		at := route.Key{Gateway: key.Gateway, Host: host}
		if made, _ := route.Build(at, route.Objects{Ingresses: keys[at], Services: services}); made != nil {
			return made
		}
	}
	return nil
}

func (w world) buildGateways(made *picture) {
	made.Gateways = map[route.Gateway]route.Settings{}
	for gateway, spec := range w.configs {
		settings, problems := route.BuildSettings(route.DefaultSettings(), gateway.Config(), spec)
		made.Gateways[gateway] = settings
		made.Problems = append(made.Problems, problems...)
	}
	for _, class := range w.classes {
		made.Problems = append(made.Problems, route.Controller("").CheckClass(class)...)
		gateway, ours := route.Controller("").GatewayOf(class)
		if _, exists := w.configs[gateway]; ours && !exists && gateway != "" && class.Spec.Parameters != nil {
			made.Problems = append(made.Problems, route.MissingParameters(class, gateway))
		}
	}
}

func (w world) servicesByName() map[types.NamespacedName]*corev1.Service {
	services := make(map[types.NamespacedName]*corev1.Service, len(w.services))
	for _, service := range w.services {
		services[nameOf(service)] = service
	}
	return services
}

// keys maps every key that the Ingresses concern to those that do. A world
// without IngressClasses is a folder, in which every Ingress is served.
func (w world) keys() map[route.Key][]*networkingv1.Ingress {
	keys := map[route.Key][]*networkingv1.Ingress{}
	classes := route.NewClasses(w.classes, route.ClassOptions{ClaimAll: len(w.classes) == 0})
	for _, ing := range w.ingresses {
		gateway, ours := classes.Gateway(ing)
		if !ours {
			continue
		}
		for _, host := range route.HostsOf(ing) {
			key := route.Key{Gateway: gateway, Host: host}
			keys[key] = append(keys[key], ing)
		}
	}
	for key := range w.challenges {
		keys[key] = append(keys[key], nil...) // it is there, whoever asks for it
	}
	return keys
}

// ask is what a request gets: a Service port, a status, or 404.
func (p picture) ask(host, path string) string {
	for _, candidate := range []string{host, "*" + strings.TrimLeft(host, nonDots), string(route.AnyHost)} {
		served := p.Hosts[route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(candidate)}]
		if served == nil {
			continue
		}
		for _, r := range served.Routes {
			if matches(r.Match, path) {
				return answerOf(r)
			}
		}
		return "404"
	}
	return "404"
}

// nonDots are the characters of one label.
const nonDots = "abcdefghijklmnopqrstuvwxyz0123456789-_"

// matches is the meaning of a Match, as Envoy implements it.
func matches(match route.Match, path string) bool {
	if match.Kind == route.Exact || path == match.Path {
		return path == match.Path
	}
	return match.Path == "/" || strings.HasPrefix(path, match.Path+"/")
}

func answerOf(r route.Route) string {
	if r.Cluster == nil {
		return fmt.Sprintf("%d %s", r.Status, r.Reason)
	}
	return r.Cluster.Port.String()
}

// decode reads a stream of manifests.
func decode(t testing.TB, manifests string) world {
	t.Helper()
	w := world{configs: map[route.Gateway]v1alpha1.GatewayConfigSpec{}}
	for _, text := range strings.Split("\n"+manifests, "\n---\n") {
		var kind metav1.TypeMeta
		must(t, yaml.Unmarshal([]byte(text), &kind))
		switch kind.Kind {
		case "GatewayConfig", "ClusterGatewayConfig":
			config := decoded[v1alpha1.GatewayConfig](t, text) // of both kinds the fields are equal
			w.configs[route.ConfiguredBy(nameOf(config))] = config.Spec
		case "IngressClass":
			w.classes = append(w.classes, decoded[networkingv1.IngressClass](t, text))
		case "Ingress":
			w.ingresses = append(w.ingresses, decoded[networkingv1.Ingress](t, text))
		case "Service":
			w.services = append(w.services, decoded[corev1.Service](t, text))
		case "EndpointSlice":
			w.slices = append(w.slices, decoded[discoveryv1.EndpointSlice](t, text))
		default:
			t.Fatalf("kind %q in:\n%s", kind.Kind, text)
		}
	}
	return w
}

func decoded[T any](t testing.TB, text string) *T {
	t.Helper()
	object := new(T)
	must(t, yaml.UnmarshalStrict([]byte(text), object))
	return object
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func nameOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

// sortedKeys are the keys of a map by their text.
func sortedKeys[K interface {
	comparable
	fmt.Stringer
}, V any](m map[K]V) []K {
	var keys []K
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
