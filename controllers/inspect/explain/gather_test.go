package explain_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/inspect/explain"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// apiServer notes which Services and Secrets it is asked for.
type apiServer struct {
	client.Reader
	asked     []string
	forbidden string // "Service", for one that may not be read
}

func (a *apiServer) Get(ctx context.Context, name client.ObjectKey, into client.Object, options ...client.GetOption) error {
	kind := "Service"
	if _, ok := into.(*corev1.Secret); ok {
		kind = "Secret"
	}
	a.asked = append(a.asked, kind+" "+name.String())
	if kind == a.forbidden {
		return apierrors.NewForbidden(corev1.Resource("x"), name.Name, errors.New("no"))
	}
	return a.Reader.Get(ctx, name, into, options...)
}

// cluster has three hosts of one class, and one of another controller's.
const cluster = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: fairway}
spec: {controller: fairway.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: web}
spec:
  ingressClassName: fairway
  tls: [{hosts: [shop.test], secretName: web-tls}, {hosts: ["*.test"], secretName: wild-tls}, {hosts: [other.test], secretName: other-tls}]
  rules:
  - {host: shop.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: wild}
spec:
  ingressClassName: fairway
  rules:
  - {host: "*.shop.test", http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: wild, port: {number: 80}}}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: rest}
spec:
  ingressClassName: fairway
  tls: [{secretName: rest-tls}]
  defaultBackend: {service: {name: rest, port: {number: 80}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: foreign}
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.test], secretName: foreign-tls}]
  rules:
  - {host: shop.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: foreign, port: {number: 80}}}}]}}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
---
apiVersion: v1
kind: Secret
metadata: {namespace: shop, name: web-tls}`

func serverOf(t *testing.T) *apiServer {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	for _, text := range strings.Split(cluster, "\n---\n") {
		object, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		builder.WithObjects(object.(client.Object))
	}
	return &apiServer{Reader: builder.Build()}
}

// A cluster may have thousands of Services, and Secrets are nobody's business: no
// others are asked for than those that the answer needs.
func TestOnlyWhatTheHostCanComeToIsReadOfACluster(t *testing.T) {
	for url, want := range map[string]string{
		"https://shop.test/":      "Secret shop/rest-tls, Secret shop/web-tls, Secret shop/wild-tls, Service shop/foreign, Service shop/rest, Service shop/web",
		"https://SHOP.test.:443/": "Secret shop/rest-tls, Secret shop/web-tls, Secret shop/wild-tls, Service shop/foreign, Service shop/rest, Service shop/web",
		"https://a.shop.test/":    "Secret shop/rest-tls, Service shop/rest, Service shop/wild",
		"http://other.test/":      "Secret shop/other-tls, Secret shop/rest-tls, Secret shop/wild-tls, Service shop/rest",
		"https://10.0.0.1/":       "Secret shop/rest-tls, Service shop/rest",
	} {
		request, err := explain.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		server := serverOf(t)
		found, err := explain.Gather(t.Context(), snapshot.Reader{Reader: server}, explain.Question{Request: request})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(server.asked)
		if got := strings.Join(server.asked, ", "); got != want {
			t.Errorf("%s asks for %s, want %s", url, got, want)
		}
		for _, asked := range server.asked {
			secret, ok := strings.CutPrefix(asked, "Secret shop/")
			if missing := found.MissingSecrets[client.ObjectKey{Namespace: "shop", Name: secret}]; ok && missing != (secret != "web-tls") {
				t.Errorf("%s: Secret %s is missing: %t", url, secret, missing)
			}
		}
	}
}

func TestTheHostOfAHeaderAndOfTheURLAreBothRead(t *testing.T) {
	request, err := explain.ParseURL("https://a.shop.test/")
	if err != nil {
		t.Fatal(err)
	}
	if err := request.AddHeader("Host: shop.test"); err != nil {
		t.Fatal(err)
	}
	server := serverOf(t)
	if _, err := explain.Gather(t.Context(), snapshot.Reader{Reader: server}, explain.Question{Request: request}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Service shop/web", "Service shop/wild", "Secret shop/web-tls"} {
		if !slices.Contains(server.asked, want) {
			t.Errorf("%s is not asked for, but %v", want, server.asked)
		}
	}
}

func TestWhatMayNotBeReadIsAnErrorButOfSecrets(t *testing.T) {
	request, err := explain.ParseURL("https://shop.test/")
	if err != nil {
		t.Fatal(err)
	}
	server := serverOf(t)
	server.forbidden = "Secret"
	found, err := explain.Gather(t.Context(), snapshot.Reader{Reader: server}, explain.Question{Request: request})
	if err != nil || len(found.MissingSecrets) != 0 {
		t.Errorf("without Secrets: missing %v, %v", found.MissingSecrets, err)
	}
	server.forbidden = "Service"
	missing := (*snapshot.PermissionError)(nil)
	if _, err := explain.Gather(t.Context(), snapshot.Reader{Reader: server}, explain.Question{Request: request}); !errors.As(err, &missing) || missing.Resource != "services" {
		t.Errorf("without Services: %v", err)
	}
}
