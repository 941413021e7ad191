//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/soak"
)

const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: echo}
spec:
  ingressClassName: fairway
  rules:
    - host: echo.test
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: echo, port: {name: http}}}
`

// testHelm installs Fairway as people do, and changes the installation under the load of a client
// outside of the cluster.
func testHelm(t *testing.T, l *Lab) {
	l.Kubectl(t, ingress, "apply", "-f", "-")
	before := l.everything(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *Lab)
	}{
		{"from kustomize, with the selectors of old", testTakeOver},
		{"install", testHelmInstall},
		{"upgrade and roll-back", testHelmUpgrade},
		{"gateways spread over nodes", testSpread},
		{"a second release, from a private registry", testSecondRelease},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, l) }) {
			return
		}
	}
	t.Run("uninstall", func(t *testing.T) { testHelmUninstall(t, l, before) })
}

// helmOf is the Helm that owns the first release: FAIRWAY_LAB_HELM, else helm4. otherHelm
// owns the second.
func helmOf() string {
	if program := os.Getenv("FAIRWAY_LAB_HELM"); program != "" {
		return program
	}
	return "helm4"
}

func otherHelm() string {
	if helmOf() == "helm3" {
		return "helm4"
	}
	return "helm3"
}

// force is what Helm 4 needs to take fields that kubectl has applied; Helm 3 takes them.
func force() []string {
	if helmOf() == "helm3" {
		return nil
	}
	return []string{"--force-conflicts"}
}

// everything is what a cluster holds that an install could leave there.
func (l *Lab) everything(t *testing.T) []string {
	t.Helper()
	kinds := "crd,namespaces,clusterroles,clusterrolebindings,ingressclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations,apiservices,priorityclasses"
	cluster := l.Kubectl(t, "", "get", kinds, "-o", "name")
	inside, err := l.TryKubectl(t.Context(), "", "-n", "fairway-system", "get", "all,secrets,leases,configmaps,roles,rolebindings,serviceaccounts,networkpolicies,poddisruptionbudgets", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(cluster + inside)
	slices.Sort(lines)
	return lines
}

// load is a running load from the client machine.
type load struct {
	command *exec.Cmd
	out     bytes.Buffer
	err     bytes.Buffer
}

// tally is what a load printed.
type tally struct {
	Sent, Failures  int
	Failed          []string
	Slowest, Median float64
	P99             float64
	Seconds         float64
}

// load sends 100 requests a second to both nodes, for echo.test.
func (l *Lab) load(t *testing.T) *load {
	t.Helper()
	return l.loadFrom(t, "client", "--rate", "100", "--host", "echo.test",
		fmt.Sprintf("http://n1:%d/load", FairwayPort), fmt.Sprintf("http://n2:%d/load", FairwayPort))
}

// loadFrom sends requests from a machine.
func (l *Lab) loadFrom(t *testing.T, machine string, args ...string) *load {
	t.Helper()
	return l.loadBy(t, machine, append([]string{l.path("echo"), "load"}, args...)...)
}

// loadBy runs a command on a machine that sends requests.
func (l *Lab) loadBy(t *testing.T, machine string, command ...string) *load {
	t.Helper()
	started, err := l.Machine(machine).Command(t.Context(), command...)
	if err != nil {
		t.Fatal(err)
	}
	running := &load{command: started}
	started.Stdout, started.Stderr = &running.out, &running.err
	if err := started.Start(); err != nil {
		t.Fatal(err)
	}
	return running
}

// end ends the load, which must have lost nothing.
func (r *load) end(t *testing.T, what string) {
	t.Helper()
	r.atMost(t, what, 0)
}

// atMost ends the load, which may have lost so many requests.
func (r *load) atMost(t *testing.T, what string, lost int) {
	t.Helper()
	if err := Signal(r.command, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.command.Wait(); err != nil {
		t.Fatalf("%v: %s", err, r.err.String())
	}
	var seen tally
	if err := json.Unmarshal(r.out.Bytes(), &seen); err != nil {
		t.Fatalf("%v: %s", err, r.out.String())
	}
	t.Logf("%s: %d requests in %.0f s, %d failed; median %.1f ms, slowest %.0f ms", what, seen.Sent, seen.Seconds, seen.Failures, seen.Median*1000, seen.Slowest*1000)
	if seen.Failures > lost || seen.Sent < 100 {
		t.Errorf("%s: %d of %d requests failed:\n%s", what, seen.Failures, seen.Sent, strings.Join(seen.Failed, "\n"))
	}
}

// served waits until both nodes answer for a host.
func (l *Lab) served(t *testing.T, host string, port int) {
	t.Helper()
	client := l.Machine("client")
	for _, node := range []string{"n1", "n2"} {
		l.eventually(t, "an answer through "+node, func() bool {
			said, err := client.TryExec(t.Context(), "curl", "-sS", "--max-time", "5", "-H", "Host: "+host, fmt.Sprintf("http://%s:%d/lab", node, port))
			return err == nil && strings.Contains(said, `"Path":"/lab"`)
		})
	}
}

func (l *Lab) rolledOut(t *testing.T, namespace string) {
	t.Helper()
	for _, deployment := range strings.Fields(l.Kubectl(t, "", "-n", namespace, "get", "deployments", "-o", "name")) {
		l.Kubectl(t, "", "-n", namespace, "rollout", "status", deployment, "--timeout=120s")
	}
}

// helmFlags are those of every install and upgrade of the release fairway.
func (l *Lab) helmFlags(more ...string) []string {
	return append([]string{"fairway", l.Chart(), "--namespace", "fairway-system", "--values", l.path("fairway.yaml")}, more...)
}

// testTakeOver replaces an installation from before the selectors of today, as docs/install.md says.
func testTakeOver(t *testing.T, l *Lab) {
	manifests, err := exec.CommandContext(t.Context(), mustFind(t, "kubectl"), "kustomize", "../../config").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(ghcr.io/fairwaynet/[a-z-]+):v[0-9.]+`).ReplaceAllString(string(manifests), "$1:lab")
	old := regexp.MustCompile(`(?m)^ +(app\.kubernetes\.io/instance|fairway\.dev/gateway): .*\n`).ReplaceAllString(text, "")
	if old == text {
		t.Fatal("config has the selectors of old")
	}
	l.Kubectl(t, old, "apply", "-f", "-")
	l.Kubectl(t, "", "-n", "fairway-system", "patch", "service", "fairway-gateway", "--type=json", "--patch", fmt.Sprintf(
		`[{"op": "replace", "path": "/spec/externalTrafficPolicy", "value": "Cluster"}, {"op": "replace", "path": "/spec/ports/0/nodePort", "value": %d}]`, FairwayPort))
	l.rolledOut(t, "fairway-system")
	l.served(t, "echo.test", FairwayPort)
	running := l.load(t)
	for _, line := range documented(t, "Label the pods") {
		if strings.HasPrefix(line, "helm ") {
			_, flags, _ := strings.Cut(line, "-n fairway-system ")
			own := slices.DeleteFunc(strings.Fields(flags), func(flag string) bool { return flag == "--force-conflicts" })
			l.Helm(t, helmOf(), append([]string{"install"}, l.helmFlags(append(own, force()...)...)...)...)
			continue
		}
		l.Kubectl(t, "", strings.Fields(strings.TrimPrefix(line, "kubectl "))...)
	}
	l.rolledOut(t, "fairway-system")
	// kubectl stays an owner of what it wrote, so that upgrades by Helm 4 have to insist.
	l.Helm(t, helmOf(), append([]string{"upgrade"}, l.helmFlags(append(force(), "--set", "gateway.podAnnotations.changed=yes", "--wait", "--timeout", "3m")...)...)...)
	l.rolledOut(t, "fairway-system")
	running.end(t, "the take-over, and an upgrade after it")
	l.Helm(t, helmOf(), "uninstall", "fairway", "--namespace", "fairway-system", "--wait")
	l.Kubectl(t, "", "delete", "crd", "-l", "app.kubernetes.io/name=fairway")
}

func testHelmInstall(t *testing.T, l *Lab) {
	began := time.Now()
	l.Helm(t, helmOf(), append([]string{"install"}, l.helmFlags("--create-namespace", "--set", "issuers.example.email=a@example.com", "--set", "issuers.example.termsAgreed=true",
		"--set", "issuers.example.directory=https://127.0.0.1:1/directory", "--set", "gateway.settings.trustedHops=1")...)...)
	l.served(t, "echo.test", FairwayPort)
	soak.Promised(t, "from helm install to an answer through both nodes", time.Since(began), 15*time.Second)
	l.rolledOut(t, "fairway-system")
	l.waitFor(t, "--for=create", "issuer", "example") // the leader makes it
	l.waitFor(t, "--for=create", "clustergatewayconfig", "default")
	l.waitFor(t, "--for=jsonpath={.spec.email}=a@example.com", "issuer", "example")
	l.waitFor(t, "--for=condition=Accepted", "clustergatewayconfig", "default")
	ask := []string{"test", "fairway", "--namespace", "fairway-system"}
	if helmOf() == "helm4" {
		ask = append(ask, "--logs") // Helm 3 asks for them when it has removed the pod, and fails
	}
	t.Log(l.Helm(t, helmOf(), ask...))
	if pods := l.Kubectl(t, "", "-n", "fairway-system", "get", "pods", "-l", "app.kubernetes.io/component=test", "-o", "name"); pods != "" {
		t.Errorf("helm test left %s", pods)
	}
}

// testHelmUpgrade changes values, images and a definition, and takes it back.
func testHelmUpgrade(t *testing.T, l *Lab) {
	for _, node := range []string{"n1", "n2"} {
		for _, image := range []string{ControllerImage, GatewayImage} {
			l.Machine(node).Exec(t, "ctr", "--namespace=k8s.io", "images", "tag", image, strings.TrimSuffix(image, ":lab")+":next")
		}
	}
	next := filepath.Join(t.TempDir(), "fairway")
	if err := os.CopyFS(next, os.DirFS(l.Chart())); err != nil {
		t.Fatal(err)
	}
	definition := filepath.Join(next, "files/crds/fairway.dev_issuers.yaml")
	content, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(content), "              email:\n", "              next:\n                type: string\n              email:\n", 1)
	if changed == string(content) {
		t.Fatal("the definition has no field email")
	}
	if err := os.WriteFile(definition, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	running := l.load(t)
	l.Helm(t, helmOf(), "upgrade", "fairway", next, "--namespace", "fairway-system", "--reset-then-reuse-values",
		"--set", "controller.image.tag=next", "--set", "gateway.image.tag=next", "--set", "gateway.settings.trustedHops=2", "--set", "issuers=null", "--wait", "--timeout", "3m")
	if field := l.Kubectl(t, "", "get", "crd", "issuers.fairway.dev", "-o", "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.next.type}"); field != "string" {
		t.Errorf("the upgrade did not change the definition: %q", field)
	}
	l.waitFor(t, "--for=delete", "issuer", "example")
	l.waitFor(t, "--for=jsonpath={.spec.trustedHops}=2", "clustergatewayconfig", "default")
	l.Helm(t, helmOf(), "rollback", "fairway", "--namespace", "fairway-system", "--wait", "--timeout", "3m")
	l.waitFor(t, "--for=jsonpath={.spec.trustedHops}=1", "clustergatewayconfig", "default")
	l.rolledOut(t, "fairway-system")
	running.end(t, "upgrade and roll-back")
}

// testSpread restarts the gateways again and again: each time there is one on each node.
func testSpread(t *testing.T, l *Lab) {
	for range soak.Pick(2, 20) {
		l.Kubectl(t, "", "-n", "fairway-system", "rollout", "restart", "deployment/fairway-gateway")
		l.rolledOut(t, "fairway-system")
		l.eventually(t, "two gateways", func() bool {
			nodes := strings.Fields(l.Kubectl(t, "", "-n", "fairway-system", "get", "pods", "-l", "app.kubernetes.io/component=gateway", "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.spec.nodeName}{"\n"}{end}`))
			slices.Sort(nodes)
			if len(nodes) == 2 && nodes[0] == nodes[1] {
				t.Errorf("both gateways are on %s", nodes[0])
			}
			return len(nodes) == 2
		})
	}
}

// left are the objects that docs/install.md says an uninstall leaves.
var left = regexp.MustCompile(`^(customresourcedefinition\.apiextensions\.k8s\.io/\w+\.fairway\.dev|namespace/fairway-system|apiservice\.apiregistration\.k8s\.io/v1alpha1\.fairway\.dev|secret/fairway-(ca|controller-tls|default-certificate|gateway-[a-z-]+|(account|order)-[a-z-]+)|lease\.coordination\.k8s\.io/fairway-controller[a-z0-9-]*|configmap/kube-root-ca\.crt|serviceaccount/default)$`)

func testHelmUninstall(t *testing.T, l *Lab, before []string) {
	l.Helm(t, helmOf(), "uninstall", "fairway", "--namespace", "fairway-system", "--wait")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l.eventually(t, "the end of pods and of declared objects", func() bool {
		pods, err := l.TryKubectl(ctx, "", "-n", "fairway-system", "get", "pods", "-o", "name")
		declared, err2 := l.TryKubectl(ctx, "", "get", "issuers,clustergatewayconfigs", "-o", "name")
		return err == nil && err2 == nil && pods == "" && declared == ""
	})
	for _, object := range l.everything(t) {
		if !slices.Contains(before, object) && !left.MatchString(object) {
			t.Errorf("the uninstall left %s", object)
		}
	}
	l.Kubectl(t, "", "delete", "namespace", "fairway-system")
	l.Kubectl(t, "", "delete", "crd", "-l", "app.kubernetes.io/name=fairway")
}
