// Package controller tests fairway controller as a cluster runs it: with the
// rights of config/rbac and no others.
package controller_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

const patience = 30 * time.Second

const shop = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: fairway}
spec: {controller: fairway.dev/ingress-controller}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: default}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: default, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 9000}]
endpoints: [{addresses: [10.77.1.1]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: default}
spec:
  ingressClassName: fairway
  rules:
    - host: shop.test
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: cart, port: {name: http}}}}
          - {path: /pay, pathType: Prefix, backend: {service: {name: pay, port: {number: 80}}}}
`

const pay = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: default}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: pay-1, namespace: default, labels: {kubernetes.io/service-name: pay}}
addressType: IPv4
ports: [{name: http, port: 9000}]
endpoints: [{addresses: [10.77.1.1]}]
`

func TestControllerServesWithTheRightsOfItsRole(t *testing.T) {
	fairway.Backend(t, "cart", "10.77.1.1")
	r := fairway.Start(t, fairway.Options{})
	metrics := "http://" + r.Metrics.String()
	fairway.Eventually(t, patience, says(metrics+"/readyz", "ok"))
	fairway.Eventually(t, patience, fairway.Status("shop.test", "/", http.StatusNotFound))

	r.Cluster.Kubectl(t, shop, "apply", "-f", "-")
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "cart"))
	fairway.Eventually(t, patience, fairway.Status("shop.test", "/pay", http.StatusServiceUnavailable))
	fairway.Eventually(t, patience, says(metrics+"/metrics", `fairway_problems{kind="Ingress",reason="BackendNotFound"} 1`))
	fairway.Eventually(t, patience, says(metrics+"/metrics", "fairway_hosts 1\n"))
	fairway.Eventually(t, patience, says(metrics+"/metrics", "fairway_backends 1\n"))
	fairway.Eventually(t, patience, func(context.Context) error {
		text, err := r.Cluster.TryKubectl("", "describe", "ingress", "shop")
		if err == nil && !strings.Contains(text, "BackendNotFound") {
			err = fmt.Errorf("kubectl describe shows no event:\n%s", text)
		}
		return err
	})

	// The user mends it: the Problem is gone, the route is there.
	r.Cluster.Kubectl(t, pay, "apply", "-f", "-")
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/pay", "cart"))
	fairway.Eventually(t, patience, saysNot(metrics+"/metrics", "fairway_problems{"))

	r.Cluster.Kubectl(t, "", "delete", "ingress", "shop")
	fairway.Eventually(t, patience, fairway.Status("shop.test", "/", http.StatusNotFound))
	if text := r.Controller.Log(); strings.Contains(text, "forbidden") {
		t.Errorf("the role lacks something:\n%s", text)
	}
	if err := r.Controller.Stop(t, patience); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// says is a check for fairway.Eventually: the URL is answered 200 and with text.
func says(url, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := get(ctx, url)
		if err == nil && !strings.Contains(body, text) {
			err = fmt.Errorf("%s does not say %s", url, text)
		}
		return err
	}
}

func saysNot(url, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := get(ctx, url)
		if err == nil && strings.Contains(body, text) {
			err = fmt.Errorf("%s says %s", url, text)
		}
		return err
	}
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", url, response.StatusCode)
	}
	return string(body), err
}
