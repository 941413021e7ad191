package controller_test

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
)

// site is an Ingress with its Service in a namespace, served under the host
// NAMESPACE.test.
func site(namespace, class string) []client.Object {
	objects := []client.Object{
		fairway.Service("shop"), fairway.Slice("shop", "10.77.1.1"),
		fairway.Ingress("shop", class, namespace+".test", "/", "shop"),
	}
	for _, o := range objects {
		o.SetNamespace(namespace)
	}
	return objects
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func TestNamespacesAreSelectedByTheirLabels(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.1.1")
	r := fairway.Start(t, fairway.Options{Flags: []string{"--watch-namespace-selector", "served=yes"}})
	r.Create(t, fairway.Class("fairway"), namespace("inner", map[string]string{"served": "yes"}), namespace("outer", nil))
	r.Create(t, append(site("outer", "fairway"), site("inner", "fairway")...)...)
	fairway.Eventually(t, patience, fairway.Answers("inner.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Status("outer.test", "/", http.StatusNotFound))

	r.Cluster.Kubectl(t, "", "label", "namespace", "outer", "served=yes")
	fairway.Eventually(t, patience, fairway.Answers("outer.test", "/", "shop"))
	r.Cluster.Kubectl(t, "", "label", "namespace", "inner", "served-")
	fairway.Eventually(t, patience, fairway.Status("inner.test", "/", http.StatusNotFound))
	fairway.Eventually(t, patience, fairway.Answers("outer.test", "/", "shop"))
	permitted(t, r)
}

// The rights, too, are those of the one namespace.
func TestOneNamespaceIsWatched(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.1.1")
	r := fairway.Start(t, fairway.Options{Namespaces: []string{"inner"}, Flags: []string{"--watch-namespaces", "inner"}})
	r.Create(t, fairway.Class("fairway"), namespace("outer", nil))
	r.Create(t, append(site("outer", "fairway"), site("inner", "fairway")...)...)
	fairway.Eventually(t, patience, fairway.Answers("inner.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Status("outer.test", "/", http.StatusNotFound))
	permitted(t, r)
}

func TestOneClassIsServed(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.1.1")
	r := fairway.Start(t, fairway.Options{Flags: []string{"--ingress-classes", "inner"}})
	r.Create(t, fairway.Class("inner"), fairway.Class("outer"), namespace("inner", nil), namespace("outer", nil))
	r.Create(t, append(site("outer", "outer"), site("inner", "inner")...)...)
	fairway.Eventually(t, patience, fairway.Answers("inner.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Status("outer.test", "/", http.StatusNotFound))
	permitted(t, r)
}

// permitted checks that the controller never asked for what it may not have.
func permitted(t *testing.T, r *fairway.Installation) {
	t.Helper()
	if text := r.Controller.Log(); strings.Contains(text, "forbidden") {
		t.Errorf("the role lacks something:\n%s", text)
	}
}
