package folder

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// kind is a kind of objects that is read.
type kind struct {
	schema.GroupVersionKind
	namespaced bool
	empty      func() client.Object
}

// kinds returns the kinds that Fairway serves from, or enforces.
func kinds() []kind {
	return []kind{
		{networkingv1.SchemeGroupVersion.WithKind("Ingress"), true, func() client.Object { return &networkingv1.Ingress{} }},
		{networkingv1.SchemeGroupVersion.WithKind("IngressClass"), false, func() client.Object { return &networkingv1.IngressClass{} }},
		{networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), true, func() client.Object { return &networkingv1.NetworkPolicy{} }},
		{policy.ClusterKinds()[0], false, func() client.Object { return &policyv1.ClusterNetworkPolicy{} }},
		{corev1.SchemeGroupVersion.WithKind("Service"), true, func() client.Object { return &corev1.Service{} }},
		{corev1.SchemeGroupVersion.WithKind("Secret"), true, func() client.Object { return &corev1.Secret{} }},
		{corev1.SchemeGroupVersion.WithKind(kindEndpoints), true, func() client.Object { return &endpoints{} }},
		{discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), true, func() client.Object { return &discoveryv1.EndpointSlice{} }},
		{v1alpha1.SchemeGroupVersion().WithKind("ClusterGatewayConfig"), false, func() client.Object { return &v1alpha1.ClusterGatewayConfig{} }},
		{v1alpha1.SchemeGroupVersion().WithKind("GatewayConfig"), true, func() client.Object { return &v1alpha1.GatewayConfig{} }},
		{v1alpha1.SchemeGroupVersion().WithKind("Issuer"), false, func() client.Object { return &v1alpha1.Issuer{} }},
	}
}

// retired reports whether a group is one whose Ingresses have moved to another
// group.
func retired(group string) bool { return group == "extensions" }

// kindOf finds the kind of a manifest. For a kind that is read, in a version that
// is not, it returns the kind with an error that names the right version. For
// other kinds ok is false and there is no error.
func kindOf(apiVersion, name string) (found kind, ok bool, err error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return kind{}, false, fmt.Errorf("%q is no apiVersion", apiVersion)
	}
	for _, k := range kinds() {
		if k.Kind != name || k.Group != gv.Group && !(retired(gv.Group) && k.Group == networkingv1.GroupName) {
			continue
		}
		if k.GroupVersion() != gv && !slices.Contains(policy.ClusterKinds(), gv.WithKind(name)) {
			return k, false, fmt.Errorf("%s is read as %s, not as %s", k.Kind, k.GroupVersion(), gv)
		}
		return k, true, nil
	}
	return kind{}, false, nil
}

// isRead reports whether a kind of that name is read, whatever its group.
func isRead(name string) bool {
	return slices.ContainsFunc(kinds(), func(k kind) bool { return k.Kind == strings.TrimSuffix(name, "List") }) || name == "List"
}

// ref names an object.
type ref struct {
	kind string // one of kinds; their names are unique
	name types.NamespacedName
}

func (r ref) String() string {
	if r.name.Namespace == "" {
		return r.kind + " " + r.name.Name
	}
	return r.kind + " " + r.name.String()
}

func compareRefs(a, b ref) int {
	return cmp.Or(
		cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.name.Namespace, b.name.Namespace),
		cmp.Compare(a.name.Name, b.name.Name),
	)
}

// refOf returns the name of an object of a kind, as it would be in a cluster.
func (k kind) refOf(namespace, name string) (ref, error) {
	r := ref{k.Kind, types.NamespacedName{Name: name}}
	if name == "" {
		return r, fmt.Errorf("%s has no metadata.name", k.Kind)
	}
	if strings.Contains(name, "{{") {
		return r, fmt.Errorf("%s is named %q: %s", k.Kind, name, renderFirst)
	}
	if validation.IsDNS1123Subdomain(name) != nil {
		return r, fmt.Errorf("%s cannot be named %q: names have lower-case letters, digits, '-' and '.'", k.Kind, name)
	}
	if !k.namespaced {
		return r, nil
	}
	r.name.Namespace = cmp.Or(namespace, corev1.NamespaceDefault)
	if validation.IsDNS1123Label(r.name.Namespace) != nil {
		return r, fmt.Errorf("%s cannot be in namespace %q: namespaces have lower-case letters, digits and '-'", k.Kind, namespace)
	}
	return r, nil
}

func completeSecret(o *corev1.Secret) {
	o.Type = cmp.Or(o.Type, corev1.SecretTypeOpaque)
	if o.Data == nil && len(o.StringData) > 0 {
		o.Data = map[string][]byte{}
	}
	for key, value := range o.StringData {
		o.Data[key] = []byte(value)
	}
	o.StringData = nil
}

// complete makes an object what it would be if it came from an API server: with
// its full name and the API's defaults, and without what only a server may set.
func complete(object client.Object, r ref) {
	object.SetNamespace(r.name.Namespace)
	object.SetManagedFields(nil)
	object.SetResourceVersion("")
	object.SetUID(types.UID("file:" + r.String()))
	switch o := object.(type) {
	case *corev1.Service:
		if o.Spec.Type == "" {
			o.Spec.Type = corev1.ServiceTypeClusterIP
		}
		for i := range o.Spec.Ports {
			port := &o.Spec.Ports[i]
			port.Protocol = cmp.Or(port.Protocol, corev1.ProtocolTCP)
			if port.TargetPort == (intstr.IntOrString{}) {
				port.TargetPort = intstr.FromInt32(port.Port)
			}
		}
	case *corev1.Secret:
		completeSecret(o)
	case *endpoints:
		completeEndpoints(o)
	case *discoveryv1.EndpointSlice:
		for i := range o.Ports {
			port := &o.Ports[i]
			if port.Name == nil {
				port.Name = new("")
			}
			if port.Protocol == nil {
				port.Protocol = new(corev1.ProtocolTCP)
			}
		}
	}
}
