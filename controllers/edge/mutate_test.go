package edge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// served is the label of the Namespaces that are selected, if not all are.
var served = map[string]string{"served": "yes"}

// mutate changes any one object. There are few names of each kind, so that
// objects meet.
func (w *world) mutate(random *rand.Rand) {
	namespace := pick(random, "shop", "shop", "shop", "blog")
	switch random.IntN(17) {
	case 0, 1, 2, 3:
		name := metav1.ObjectMeta{Namespace: namespace, Name: pick(random, "one", "two", "three")}
		w.applyOrRemove(random, randomIngress(random, name))
	case 4, 5:
		name := metav1.ObjectMeta{Namespace: namespace, Name: pick(random, "cart", "site")}
		w.applyOrRemove(random, randomService(random, name))
	case 6, 7:
		name := metav1.ObjectMeta{Namespace: namespace, Name: pick(random, "x", "y", "z")}
		w.applyOrRemove(random, randomSlice(random, name))
	case 8, 9:
		w.applyOrRemove(random, randomClass(random, metav1.ObjectMeta{Name: pick(random, "fairway", "other", "third")}))
	case 10:
		name := index.Namespace()
		name.Name = namespace
		if random.IntN(3) > 0 {
			name.Labels = served
		}
		w.applyOrRemove(random, name)
	case 11:
		name := metav1.ObjectMeta{Name: pick(random, "inner", "default")}
		w.applyOrRemove(random, &v1alpha1.ClusterGatewayConfig{ObjectMeta: name, Spec: randomSettings(random)})
	case 12:
		name := metav1.ObjectMeta{Namespace: namespace, Name: "inner"}
		w.applyOrRemove(random, &v1alpha1.GatewayConfig{ObjectMeta: name, Spec: randomSettings(random)})
	case 13, 14:
		name := metav1.ObjectMeta{Namespace: namespace, Name: pick(random, "good", "good", "broken", "late")}
		w.applyOrRemove(random, randomSecret(random, name))
	case 15:
		if ingress := pickAny[*networkingv1.Ingress](w, random); ingress != nil {
			w.Remove(ingress)
			w.Apply(ingress.DeepCopy())
		}
	default:
		if slice := pickAny[*discoveryv1.EndpointSlice](w, random); slice != nil {
			slice = slice.DeepCopy()
			slice.Labels = map[string]string{discoveryv1.LabelServiceName: pick(random, "cart", "site")}
			w.Apply(slice)
		}
	}
}

// pickAny returns an object that exists, or nil.
func pickAny[O client.Object](w *world, random *rand.Rand) (none O) {
	objects := w.Kind(none).Server
	if len(objects) == 0 {
		return none
	}
	return objects[pick(random, slices.SortedFunc(maps.Keys(objects), byName)...)].(O)
}

func byName(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) }

func (w *world) applyOrRemove(random *rand.Rand, object client.Object) {
	if random.IntN(6) == 0 {
		w.Remove(object)
		return
	}
	w.Apply(object)
}

func pick[T any](random *rand.Rand, choices ...T) T { return choices[random.IntN(len(choices))] }

func randomIngress(random *rand.Rand, meta metav1.ObjectMeta) *networkingv1.Ingress {
	ingress := &networkingv1.Ingress{ObjectMeta: meta}
	switch random.IntN(6) {
	case 0: // the default class's
	case 1:
		ingress.Annotations = map[string]string{"kubernetes.io/ingress.class": pick(random, "fairway", "other")}
	case 2:
		ingress.Spec.IngressClassName = new(pick(random, "other", "third"))
	default:
		ingress.Spec.IngressClassName = new("fairway")
	}
	if random.IntN(4) == 0 {
		ingress.Spec.DefaultBackend = randomBackend(random)
	}
	if random.IntN(3) == 0 {
		if ingress.Annotations == nil {
			ingress.Annotations = map[string]string{}
		}
		maps.Copy(ingress.Annotations, pick(random,
			map[string]string{route.AnnotationClientCA: "good"},
			map[string]string{route.AnnotationClientCA: "late", route.AnnotationClientCertificate: route.ClientOptional},
			map[string]string{route.AnnotationClientCA: "broken"},
			map[string]string{route.AnnotationTLSPassthrough: "true"},
			map[string]string{route.AnnotationTLSPassthrough: "true"},
		))
	}
	for random.IntN(5) < 2 {
		entry := networkingv1.IngressTLS{SecretName: pick(random, "good", "good", "broken", "late", "late", "")}
		for range random.IntN(3) {
			entry.Hosts = append(entry.Hosts, pick(random, "shop.test", "*.shop.test", "blog.test"))
		}
		ingress.Spec.TLS = append(ingress.Spec.TLS, entry)
	}
	if random.IntN(4) == 0 {
		ingress.Spec.TLS = append(ingress.Spec.TLS,
			networkingv1.IngressTLS{SecretName: "good", Hosts: []string{"shop.test"}},
			networkingv1.IngressTLS{SecretName: "late", Hosts: []string{"shop.test"}})
	}
	for range random.IntN(4) {
		rule := networkingv1.IngressRule{Host: pick(random, "shop.test", "blog.test", "*.shop.test", "", "Bad Host")}
		if random.IntN(8) > 0 {
			rule.HTTP = &networkingv1.HTTPIngressRuleValue{}
			for range 1 + random.IntN(2) {
				rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
					Path:     pick(random, "/", "/", "/a", "/a/b", "bad"),
					PathType: new(pick(random, networkingv1.PathTypePrefix, networkingv1.PathTypeExact)),
					Backend:  *randomBackend(random),
				})
			}
		}
		ingress.Spec.Rules = append(ingress.Spec.Rules, rule)
	}
	return ingress
}

func randomBackend(random *rand.Rand) *networkingv1.IngressBackend {
	if random.IntN(12) == 0 {
		return &networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "b"}}
	}
	port := pick(random,
		networkingv1.ServiceBackendPort{Name: "http"},
		networkingv1.ServiceBackendPort{Number: 80},
		networkingv1.ServiceBackendPort{Number: 8080})
	return &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: pick(random, "cart", "site"), Port: port,
	}}
}

func randomService(random *rand.Rand, meta metav1.ObjectMeta) *corev1.Service {
	service := &corev1.Service{ObjectMeta: meta}
	if random.IntN(6) == 0 {
		service.Spec.Type = corev1.ServiceTypeExternalName
		service.Spec.ExternalName = "elsewhere.test"
	}
	for _, port := range []corev1.ServicePort{
		{Name: "http", Port: pick[int32](random, 80, 8080)},
		{Name: "admin", Port: 9090, AppProtocol: new(pick(random, "https", "http"))},
	} {
		if random.IntN(5) > 0 {
			service.Spec.Ports = append(service.Spec.Ports, port)
		}
	}
	if random.IntN(3) == 0 {
		service.Annotations = map[string]string{
			route.AnnotationBackendCA: pick(random, "good", "good", "broken", "late", "system", "No Name"),
		}
	}
	return service
}

func randomSlice(random *rand.Rand, meta metav1.ObjectMeta) *discoveryv1.EndpointSlice {
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: pick(random, "cart", "cart", "site", "site", "nobody")}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta,
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(pick(random, "http", "http", "admin")), Port: new(int32(8000))}},
	}
	for range random.IntN(4) {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.0.0.%d", 1+random.IntN(5))},
			Conditions: discoveryv1.EndpointConditions{Ready: new(random.IntN(3) > 0)},
		})
	}
	return slice
}

func randomClass(random *rand.Rand, meta metav1.ObjectMeta) *networkingv1.IngressClass {
	class := &networkingv1.IngressClass{ObjectMeta: meta}
	class.Spec.Controller = pick(random, route.ControllerName, route.ControllerName, route.ControllerName, "example.com/other")
	if random.IntN(2) == 0 {
		class.Spec.Parameters = randomParameters(random)
	}
	if random.IntN(3) == 0 {
		class.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	}
	return class
}

func randomParameters(random *rand.Rand) *networkingv1.IngressClassParametersReference {
	if random.IntN(2) == 0 {
		return &networkingv1.IngressClassParametersReference{
			APIGroup: new("fairway.dev"), Kind: pick(random, "GatewayConfig", "Secret", "Secret"), Name: "inner",
			Scope: new("Namespace"), Namespace: new("shop"),
		}
	}
	return &networkingv1.IngressClassParametersReference{
		APIGroup: new("fairway.dev"), Kind: "ClusterGatewayConfig", Name: pick(random, "inner", "default"),
	}
}

// randomSettings are wrong one time in three.
func randomSettings(random *rand.Rand) v1alpha1.GatewayConfigSpec {
	spec := v1alpha1.GatewayConfigSpec{HTTPPort: new(pick[int32](random, 80, 8080, 8081))}
	switch random.IntN(3) {
	case 0:
		spec.HTTPSPort = new(pick[int32](random, 8080, 70000))
	case 1:
		spec.Timeouts = &v1alpha1.Timeouts{Idle: new(pick[v1alpha1.Duration](random, "10s", "20s", "soon"))}
	}
	return spec
}
