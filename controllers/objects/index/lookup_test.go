package index_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
)

// objectsOf finds what is in manifests.
func objectsOf(t *testing.T, manifests string) index.Objects {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	indexed.Register(t, builder)
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	for _, text := range strings.Split("\n"+manifests, "\n---\n") {
		object, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		builder.WithObjects(object.(client.Object))
	}
	return index.Objects{Cluster: builder.Build()}
}

// ingresses has an Ingress for each way to name a host, a Service, a Secret and a
// class. Names say what it is about.
const ingresses = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: exact}
spec:
  ingressClassName: fairway
  tls: [{hosts: [shop.test], secretName: web-tls}]
  rules:
  - host: shop.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: blog, name: exact}
spec:
  ingressClassName: fairway
  tls: [{hosts: [shop.test, blog.test], secretName: web-tls}]
  rules:
  - host: shop.test
    http: {paths: [{path: /blog, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: wildcard, annotations: {kubernetes.io/ingress.class: fairway, fairway.dev/client-ca: staff-ca}}
spec:
  tls: [{secretName: wild-tls}, {hosts: ["*.test"]}]
  rules:
  - host: "*.shop.test"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: wild, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: default-backend, annotations: {fairway.dev/client-ca: web-tls}}
spec:
  defaultBackend: {service: {name: web, port: {number: 80}}}
  tls: [{secretName: web-tls}]
  rules: [{host: other.test}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: any-host, annotations: {fairway.dev/client-ca: "Not A Name"}}
spec:
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {resource: {kind: Bucket, name: web}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: invalid-only, annotations: {kubernetes.io/ingress.class: nginx}}
spec:
  ingressClassName: fairway
  tls: [{hosts: [SHOP.test, shop.test., ""]}]
  rules: [{host: SHOP.test}, {host: shop.test.}, {host: 10.0.0.1}, {host: "*"}, {host: "a.*.test"}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: partly-invalid}
spec:
  ingressClassName: nginx
  rules: [{host: Shop.test}, {host: valid.test}, {host: valid.test}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: empty}
spec: {}
`

// names are of Ingresses, sorted.
func names[O client.Object](objects []O, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, object := range objects {
		all = append(all, object.GetNamespace()+"/"+object.GetName())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func in(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// A host is one key. What a wildcard covers is not the wildcard, and what is no
// valid host is nobody's.
func TestIngressesOfAHost(t *testing.T) {
	o := objectsOf(t, ingresses)
	for host, want := range map[route.Hostname]string{
		"shop.test":   "blog/exact shop/exact",
		"*.shop.test": "shop/wildcard",
		"a.shop.test": "",
		"valid.test":  "shop/partly-invalid",
		"other.test":  "shop/default-backend",
		// The hosts of an Ingress are all invalid: its Problems are the default host's.
		route.AnyHost: "shop/any-host shop/default-backend shop/empty shop/invalid-only",
		"":            "",
		"SHOP.test":   "",
		"Shop.test":   "",
		"shop.test.":  "",
		"10.0.0.1":    "",
		"a.*.test":    "",
	} {
		if got := names(o.IngressesOfHost(t.Context(), host)); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

func TestIngressesOfAServerName(t *testing.T) {
	o := objectsOf(t, ingresses)
	for name, want := range map[route.Hostname]string{
		"shop.test":   "blog/exact shop/exact",
		"blog.test":   "blog/exact", // no rule is for it
		"*.shop.test": "shop/wildcard",
		"*.test":      "shop/wildcard",
		"other.test":  "shop/default-backend", // an entry without hosts means all of the rules
		// It means the default host, too. A host that is empty is no host.
		route.AnyHost: "shop/default-backend",
		"SHOP.test":   "",
		"shop.test.":  "",
		"valid.test":  "",
		"":            "",
	} {
		if got := names(o.IngressesOfTLS(t.Context(), name)); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestIngressesOfAService(t *testing.T) {
	o := objectsOf(t, ingresses)
	for service, want := range map[types.NamespacedName]string{
		in("shop", "web"):  "shop/default-backend shop/exact", // not the resource of that name
		in("blog", "web"):  "blog/exact",
		in("shop", "wild"): "shop/wildcard",
		in("blog", "wild"): "",
		in("shop", "WEB"):  "",
		in("shop", ""):     "",
	} {
		if got := names(o.IngressesOfService(t.Context(), service)); got != want {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
	}
}

// A Secret is named for a certificate, for authorities of clients, or for both.
func TestIngressesOfASecret(t *testing.T) {
	o := objectsOf(t, ingresses)
	for secret, want := range map[types.NamespacedName]string{
		in("shop", "web-tls"):    "shop/default-backend shop/exact", // each once
		in("blog", "web-tls"):    "blog/exact",
		in("shop", "staff-ca"):   "shop/wildcard",
		in("blog", "staff-ca"):   "",
		in("shop", "Not A Name"): "",
		in("shop", ""):           "",
	} {
		if got := names(o.IngressesOfSecret(t.Context(), secret)); got != want {
			t.Errorf("%s: %s, want %s", secret, got, want)
		}
	}
}

func TestIngressesOfAClass(t *testing.T) {
	const unclassed = "shop/any-host shop/default-backend shop/empty"
	for _, test := range []struct {
		name, class, isDefault string
		scope                  index.Scope
		want                   string
	}{
		{name: "by field or annotation", class: "fairway", want: "blog/exact shop/exact shop/invalid-only shop/wildcard"},
		{name: "the annotation counts beside the field: the index does not say which decides", class: "nginx", want: "shop/invalid-only shop/partly-invalid"},
		{name: "nobody names it", class: "other"},
		{name: "a default class: those that name none, too", class: "other", isDefault: "true", want: unclassed},
		{name: "a class that was the default, perhaps", class: "other", isDefault: "false", want: unclassed},
		{
			name: "the first class of files: all that were claimed without it", class: "other", scope: index.Scope{ClaimWithoutClasses: true},
			want: "blog/exact shop/any-host shop/default-backend shop/empty shop/exact shop/invalid-only shop/partly-invalid shop/wildcard",
		},
	} {
		o := objectsOf(t, ingresses)
		o.Scope = test.scope
		class := &networkingv1.IngressClass{}
		class.Name = test.class
		if test.isDefault != "" {
			class.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: test.isDefault}
		}
		if got := names(o.IngressesOfClass(t.Context(), class)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// Other objects are found by their names alone.
const named = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: v1
kind: Namespace
metadata: {name: blog, labels: {team: blog}}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web, annotations: {fairway.dev/backend-ca: roots}}
spec: {ports: [{port: 443, appProtocol: https}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: blog, name: web, annotations: {fairway.dev/backend-ca: roots}}
spec: {ports: [{port: 443, appProtocol: https}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: public, annotations: {fairway.dev/backend-ca: system}}
spec: {ports: [{port: 443, appProtocol: https}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: verified, annotations: {fairway.dev/backend-verify: "true"}}
spec: {ports: [{port: 443, appProtocol: https}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: malformed, annotations: {fairway.dev/backend-ca: "../roots"}}
spec: {ports: [{port: 443, appProtocol: https}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: plain, annotations: {fairway.dev/backend-ca: roots}}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: blog, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web, labels: {kubernetes.io/service-name: ""}}
addressType: IPv4
---
apiVersion: v1
kind: Secret
metadata: {namespace: shop, name: roots}
---` + ingresses

func TestServicesOfAnAuthority(t *testing.T) {
	o := objectsOf(t, named)
	for _, test := range []struct {
		authority route.Authority
		want      string
	}{
		{route.Authority{Namespace: "shop", Name: "roots"}, "shop/web"},
		{route.Authority{Namespace: "blog", Name: "roots"}, "blog/web"},
		{route.Authority{Namespace: "shop", Name: "system"}, ""},
		{route.SystemAuthority(), "shop/public shop/verified"},
		{route.Authority{}, ""},
	} {
		if got := names(o.ServicesOfAuthority(t.Context(), test.authority)); got != test.want {
			t.Errorf("%s: %s, want %s", test.authority, got, test.want)
		}
	}
	if got, want := names(o.ServicesWithAuthority(t.Context())), "blog/web shop/public shop/verified shop/web"; got != want {
		t.Errorf("with any: %s, want %s", got, want)
	}
}

func TestWhatIsFoundByItsName(t *testing.T) {
	o := objectsOf(t, named)
	for _, test := range []struct {
		name types.NamespacedName
		want string // of which kinds there is one
	}{
		{in("shop", "web"), "Service"},
		{in("shop", "roots"), "Secret"},
		{in("blog", "roots"), ""},
		{in("shop", "exact"), "Ingress"},
		{in("", "web"), ""},
	} {
		var found []string
		service, err1 := o.Service(t.Context(), test.name)
		secret, err2 := o.Secret(t.Context(), test.name)
		ingress, err3 := o.Ingress(t.Context(), test.name)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if service != nil {
			found = append(found, "Service")
		}
		if secret != nil {
			found = append(found, "Secret")
		}
		if ingress != nil {
			found = append(found, "Ingress")
		}
		if got := strings.Join(found, " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	for service, want := range map[types.NamespacedName]string{
		in("shop", "web"): "shop/web-1 shop/web-2", in("blog", "web"): "blog/web-1", in("shop", "plain"): "", in("shop", ""): "",
	} {
		if got := names(o.Slices(t.Context(), service)); got != want {
			t.Errorf("slices of %s: %s, want %s", service, got, want)
		}
	}
}

// Ingresses of other namespaces do not count, however they are found, but that one
// is asked for by name.
func TestASelectorOfNamespacesHidesTheIngressesOfOthers(t *testing.T) {
	ctx := t.Context()
	class := &networkingv1.IngressClass{}
	class.Name = "fairway"
	for selector, want := range map[string]string{
		"team=shop": "shop/exact", "team=blog": "blog/exact", "team": "blog/exact shop/exact", "team!=none": "blog/exact shop/exact", "team=none": "",
	} {
		o := objectsOf(t, named)
		parsed, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		o.Namespaces = parsed
		all, byClass := names(o.Ingresses(ctx)), names(o.IngressesOfClass(ctx, class))
		for _, found := range []string{names(o.IngressesOfHost(ctx, "shop.test")), names(o.IngressesOfTLS(ctx, "shop.test"))} {
			if found != want {
				t.Errorf("%s: %s, want %s", selector, found, want)
			}
		}
		for _, namespace := range []string{"shop", "blog"} {
			_, wanted := strings.CutPrefix(want+" ", namespace)
			wanted = wanted || strings.Contains(want, " "+namespace)
			if got, err := o.Selects(ctx, namespace); got != wanted || err != nil {
				t.Errorf("%s: selects %s: %t, %v", selector, namespace, got, err)
			}
			if strings.Contains(all, namespace+"/") != wanted || strings.Contains(byClass, namespace+"/exact") != wanted {
				t.Errorf("%s: all are %s, of the class %s", selector, all, byClass)
			}
			if got := names(o.IngressesOfService(ctx, in(namespace, "web"))); (got != "") != wanted {
				t.Errorf("%s: of Service %s/web: %s", selector, namespace, got)
			}
			if got := names(o.IngressesOfSecret(ctx, in(namespace, "web-tls"))); (got != "") != wanted {
				t.Errorf("%s: of Secret %s/web-tls: %s", selector, namespace, got)
			}
		}
		if found, err := o.Ingress(ctx, in("shop", "exact")); found == nil || err != nil {
			t.Errorf("%s: by name: %v, %v", selector, found, err)
		}
	}
}

// Its event has not come yet, or it is about to go.
func TestANamespaceThatIsNotThereIsNotSelected(t *testing.T) {
	o := objectsOf(t, ingresses)
	if selected, err := o.Selects(t.Context(), "shop"); !selected || err != nil {
		t.Errorf("without a selector: %t, %v", selected, err)
	}
	o.Namespaces = labels.Everything()
	if selected, err := o.Selects(t.Context(), "shop"); selected || err != nil {
		t.Errorf("with one: %t, %v", selected, err)
	}
	if got := names(o.Ingresses(t.Context())); got != "" {
		t.Errorf("Ingresses %s", got)
	}
}
