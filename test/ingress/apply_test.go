package ingress_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/test/fairway"
)

const shopService = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 80, targetPort: 9000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: 9000}]
endpoints: [{addresses: [%[2]s]}]
---
`

const shopIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  ingressClassName: %s
  rules:
    - host: %s
      http: {paths: [{path: %s, pathType: Prefix, backend: {service: {name: %s, port: {number: 80}}}}]}
`

// What a user does with kubectl, a client sees.
func testApply(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	t.Cleanup(func() { s.kubectl("", "delete", "ingress,service,endpointslice", "--all", "--wait=false") })
	apply := func(class, host, path, service string) {
		t.Helper()
		s.kubectl(fmt.Sprintf(shopIngress, class, host, path, service), "apply", "-f", "-")
	}
	cart, pay := s.endpoint("cart"), s.endpoint("pay")

	// All of it in one go, as a chart does.
	s.kubectl(fmt.Sprintf(shopService, "cart", cart)+fmt.Sprintf(shopService, "pay", pay)+
		fmt.Sprintf(shopIngress, class, "apply.test", "/", "cart"), "apply", "-f", "-")
	s.eventually("apply.test", "/", "cart")

	apply(class, "apply.test", "/", "pay")
	s.eventually("apply.test", "/", "pay")

	apply(class, "apply.test", "/v2", "pay")
	s.eventually("apply.test", "/", notFound)
	s.now("apply.test", "/v2", "pay")

	apply(class, "moved.apply.test", "/v2", "pay")
	s.eventually("moved.apply.test", "/v2", "pay")
	s.eventually("apply.test", "/v2", notFound)

	apply("someone-else", "moved.apply.test", "/v2", "pay")
	s.eventually("moved.apply.test", "/v2", notFound)
	apply(class, "moved.apply.test", "/v2", "pay")
	s.eventually("moved.apply.test", "/v2", "pay")

	// Endpoints are replaced: first one more, then the old one goes.
	newer := s.endpoint("newer")
	s.kubectl(fmt.Sprintf(shopService, "pay", pay+", "+newer), "apply", "-f", "-") // two addresses of one endpoint: the first counts
	s.now("moved.apply.test", "/v2", "pay")
	s.kubectl(fmt.Sprintf(shopService, "pay", newer), "apply", "-f", "-")
	s.eventually("moved.apply.test", "/v2", "newer")

	s.kubectl("", "delete", "ingress", "shop")
	s.eventually("moved.apply.test", "/v2", notFound)

	apply(class, "moved.apply.test", "/v2", "cart")
	s.eventually("moved.apply.test", "/v2", "cart")
}
