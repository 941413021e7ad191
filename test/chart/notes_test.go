package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the notes say holds for the values at hand. The chart asks the cluster nothing, so that Helm
// need not either.
func testNotes(t *testing.T, i installer) {
	for _, test := range []struct {
		name, values string
		says, never  []string
	}{
		{
			name: "defaults", says: []string{"2 controllers decide", "default: 2 of them, for Ingresses with ingressClassName: fairway", "loadBalancer.ingress", "--class=fairway", "issuers.letsencrypt.termsAgreed=true", "enforce=restricted"},
			never: []string{"nodePort", "port-forward", "publishAddresses", "spec.controller:", "fairway-node", "fairway-dns"},
		},
		{
			name: "ports of the node", values: "gateway: {kind: DaemonSet, hostPort: {enabled: true}}",
			says:  []string{"one on every node", "rollout status daemonset/fairway-gateway", "answers on ports of the nodes", "Ingresses show no address", "enforce=privileged"},
			never: []string{"loadBalancer.ingress", "stay Pending", "port-forward"},
		},
		{
			name: "a Deployment with ports of the node", values: "gateway: {hostPort: {enabled: true}, publishAddresses: [192.0.2.1]}",
			says: []string{"More replicas than nodes stay Pending"}, never: []string{"Ingresses show no address"},
		},
		{name: "NodePort", values: "gateway: {service: {type: NodePort}}", says: []string{".nodePort"}, never: []string{"loadBalancer.ingress", "port-forward"}},
		{name: "ClusterIP", values: "gateway: {service: {type: ClusterIP}}", says: []string{"port-forward service/fairway-gateway 8080:80"}, never: []string{"loadBalancer.ingress"}},
		{name: "no Service", values: "gateway: {service: {enabled: false}}", says: []string{"rollout status deployment/fairway-gateway"}, never: []string{"loadBalancer.ingress", "port-forward", "nodePort"}},
		{name: "no class", values: "gateway: {ingressClassResource: {enabled: false}}", says: []string{"default: 2 of them"}, never: []string{"create ingress", "ingressClassName"}},
		{
			name: "several gateways with an Issuer and an autoscaler", values: withoutPrometheus,
			says:  []string{"default: 2 to 11 of them", "internal: one on every node, for Ingresses with ingressClassName: internal", "Issuers of certificates: letsencrypt"},
			never: []string{"termsAgreed=true"},
		},
		{
			name: "a network", values: network(""), says: []string{"-n kube-system rollout status daemonset/fairway-node", "enforce=restricted"},
			never: []string{"enforce=privileged"},
		},
		{name: "a network in the release's namespace", values: network("namespace: fairway-system"), says: []string{"label namespace fairway-system pod-security.kubernetes.io/enforce=privileged"}, never: []string{"enforce=restricted"}},
		{name: "a network in a namespace of its own", values: network("namespace: net"), says: []string{"label namespace net pod-security.kubernetes.io/enforce=privileged", "enforce=restricted"}},
		{
			name: "a DNS", values: dns(""), says: []string{"2 servers answer DNS for the cluster, at the Service kube-system/kube-dns", "-n kube-system rollout status deployment/fairway-dns", "enforce=restricted"},
		},
		{name: "the default class", values: "gateway: {ingressClassResource: {default: true}}", says: []string{"and for those without a class"}},
		{name: "a controller value of its own", values: "controller: {controllerValue: k8s.io/ingress-nginx}", says: []string{"spec.controller: k8s.io/ingress-nginx"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			printed, err := i.helm(t, "install", test.values, folder, "--dry-run=client", "--disable-openapi-validation")
			if err != nil {
				t.Fatal(err)
			}
			_, notes, _ := strings.Cut(printed, "NOTES:")
			for _, text := range test.says {
				if !strings.Contains(notes, text) {
					t.Errorf("the notes do not say %q", text)
				}
			}
			for _, text := range append(test.never, "<no value>", "<nil>", "%!") {
				if strings.Contains(notes, text) {
					t.Errorf("the notes say %q", text)
				}
			}
			if t.Failed() {
				t.Log(notes)
			}
		})
	}
}

// Under an umbrella chart the values have one more level, and "global" and "enabled" reach it.
func TestUnderAnUmbrella(t *testing.T) {
	umbrella := t.TempDir()
	for name, text := range map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies: [{name: fairway, version: '*', condition: fairway.enabled}]\n",
		"values.yaml": "global: {imageRegistry: r.test, other: {x: 1}}\nfairway: {enabled: true, gateway: {replicaCount: 3}}\n",
	} {
		if err := os.WriteFile(filepath.Join(umbrella, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(umbrella, "charts", "fairway"), os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	for _, program := range helms {
		out, err := helm(t, program, "template", "web", umbrella, "--namespace", "web")
		if err != nil {
			t.Fatal(err)
		}
		gateway := parse(t, out).must(t, "Deployment", "web-fairway-gateway")
		if field(gateway, "spec.replicas") != float64(3) || field(gateway, "spec.template.spec.containers.0.image") != "r.test/fairwaynet/fairway-gateway:v0.1.0" {
			t.Errorf("%s: %v", program, gateway.Object["spec"])
		}
		if out, err := helm(t, program, "template", "web", umbrella, "--namespace", "web", "--set", "fairway.enabled=false"); err != nil || len(parse(t, out)) != 0 {
			t.Errorf("%s: switched off: %v %s", program, err, out)
		}
		if _, err := helm(t, program, "template", "web", umbrella, "--set", "fairway.gateway.replicas=3"); err == nil {
			t.Errorf("%s: a misspelt value under an umbrella is accepted", program)
		}
	}
}

func TestHelmsLinterIsContent(t *testing.T) {
	for _, program := range helms {
		if out, err := helm(t, program, "lint", "--strict", folder); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
