package main

import (
	"fmt"
	"strings"
	"testing"
)

const gatewayConfig = `---
apiVersion: fairway.dev/v1alpha1
kind: ClusterGatewayConfig
metadata: {name: default}
spec:
  httpPort: 80
  proxyProtocol: {}
  escapedSlashes: %s
`

const internalClass = `---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: internal}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: ClusterGatewayConfig, name: internal}
`

// The one Envoy serves every class with the settings of the default gateway. Only
// the listen addresses differ.
func TestServeReadsGateways(t *testing.T) {
	envoy := elsewhere(t)
	put(t, "dir/service.yaml", service("red", backend(t, "red")))
	put(t, "dir/class.yaml", internalClass)
	put(t, "dir/ingress.yaml", strings.Replace(ingress("a", "a.test", "red"), "spec:", "spec:\n  ingressClassName: internal", 1))
	put(t, "dir/gateway.yaml", fmt.Sprintf(gatewayConfig, "Reject"))
	p := startServe(t, envoy)
	p.says(fmt.Sprintf("serving dir on http://127.0.0.1:%d: 1 host (a.test), 1 problem", p.port))
	p.says("IngressClass internal: spec.parameters: ParametersNotFound")
	eventually(t, patience, p.answers("a.test", "/", 200, "red"))
	eventually(t, patience, p.answers("a.test", "/x%2fy", 400, ""))

	put(t, "dir/gateway.yaml", fmt.Sprintf(gatewayConfig, "Keep"))
	eventually(t, patience, p.answers("a.test", "/x%2fy", 200, "red"))
	put(t, "dir/gateway.yaml", fmt.Sprintf(gatewayConfig, "Never"))
	p.says(`problem: dir/gateway.yaml:8: ClusterGatewayConfig default: spec.escapedSlashes: InvalidSetting: "Never" is none of`)
	eventually(t, patience, p.answers("a.test", "/x%2fy", 200, "red"))
	put(t, "dir/gateway.yaml", fmt.Sprintf(gatewayConfig, "Reject"))
	p.says("mended: dir/gateway.yaml:8")
	eventually(t, patience, p.answers("a.test", "/x%2fy", 400, ""))
}
