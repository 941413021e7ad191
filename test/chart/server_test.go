package chart

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/olddefinitions"
)

// What the real API server says to the chart, by both Helms. There are no nodes: nothing runs.
func TestInACluster(t *testing.T) {
	for _, program := range helms {
		t.Run(program, func(t *testing.T) {
			i := installer{cluster.Start(t, cluster.Options{}), program}
			for _, test := range []struct {
				name string
				run  func(*testing.T, installer)
			}{
				{"an upgrade brings new kinds and fields", testUpgrade},
				{"an install makes everything", testInstall},
				{"kubectl applies it twice", testApply},
				{"two releases share a cluster", testSideBySide},
				{"restricted namespaces admit its pods", testRestricted},
				{"agents need a privileged namespace", testAgentsNeedPrivileged},
				{"what is live is what is rendered", testDrift},
				{"a mistake makes nothing", testNothingHalf},
				{"autoscaling takes over", testAutoscaling},
				{"the notes are true", testNotes},
			} {
				if !t.Run(test.name, func(t *testing.T) { test.run(t, i) }) {
					return
				}
			}
		})
	}
}

// installer runs one Helm against a cluster.
type installer struct {
	*cluster.Cluster
	program string
}

// helm runs Helm for the release fairway, and returns what it prints.
func (i installer) helm(t *testing.T, verb, values string, args ...string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	line := append([]string{verb, "fairway"}, args...)
	if verb != "uninstall" && verb != "rollback" {
		line = append(line, "--values", path)
	}
	if !slices.Contains(args, "--namespace") {
		line = append(line, "--namespace", "fairway-system")
	}
	return helm(t, i.program, append(line, "--kubeconfig", i.Kubeconfig)...)
}

func (i installer) install(t *testing.T, values string, args ...string) string {
	t.Helper()
	printed, err := i.helm(t, "install", values, append([]string{folder, "--create-namespace"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// uninstall removes the release. The definitions stay.
func (i installer) uninstall(t *testing.T) {
	t.Helper()
	if _, err := i.helm(t, "uninstall", ""); err != nil {
		t.Error(err)
	}
}

// namespace makes a namespace, if there is none. Without a controller none would end.
func (i installer) namespace(t *testing.T, name, labels string) {
	t.Helper()
	i.Kubectl(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {%s}}}", name, labels), "apply", "--server-side", "-f", "-")
}

// names are the objects of some kinds, without those that Kubernetes makes itself.
func (i installer) names(t *testing.T, kinds string) []string {
	t.Helper()
	printed := i.Kubectl(t, "", "get", kinds, "-A", "-o", "name", "-l", "app.kubernetes.io/name=fairway")
	names := strings.Fields(printed)
	slices.Sort(names)
	return names
}

// all are the kinds that the chart makes.
const allKinds = "crd,deployments,daemonsets,services,configmaps,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings,ingressclasses,networkpolicies,poddisruptionbudgets,hpa,validatingadmissionpolicies,validatingadmissionpolicybindings"

// withoutPrometheus is full without the kinds that this cluster has not.
var withoutPrometheus = strings.NewReplacer("podMonitor: {enabled: true}, prometheusRule: {enabled: true}, ", "").Replace(full)

func testInstall(t *testing.T, i installer) {
	i.namespace(t, "shop", "")
	notes := i.install(t, withoutPrometheus)
	if !strings.Contains(notes, "2 controllers decide") {
		t.Errorf("notes:\n%s", notes)
	}
	runCommands(t, i, notes)
	if got := len(i.names(t, allKinds)); got < 25 {
		t.Errorf("only %d objects: %q", got, i.names(t, allKinds))
	}
	size := i.Kubectl(t, "", "-n", "fairway-system", "get", "secret", "-l", "owner=helm", "-o", "json")
	t.Logf("%d KiB with the release's Secret", len(size)/1024)
	if len(size) > 512<<10 {
		t.Error("the release's Secret comes close to 1 MiB")
	}
	if _, err := i.helm(t, "uninstall", ""); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"customresourcedefinition.apiextensions.k8s.io/addresspools.fairway.dev",
		"customresourcedefinition.apiextensions.k8s.io/clustergatewayconfigs.fairway.dev",
		"customresourcedefinition.apiextensions.k8s.io/gatewayconfigs.fairway.dev",
		"customresourcedefinition.apiextensions.k8s.io/issuers.fairway.dev",
	}
	if diff := cmp.Diff(want, i.names(t, allKinds)); diff != "" {
		t.Errorf("after uninstall (-want +got):\n%s", diff)
	}
	i.install(t, "") // the kept definitions are taken over again
	i.uninstall(t)
}

// runCommands runs what the notes tell people to type, as far as it needs no pods.
func runCommands(t *testing.T, i installer, notes string) {
	t.Helper()
	run := 0
	for _, line := range strings.Split(notes, "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "kubectl ") || strings.Contains(line, "rollout status") || strings.Contains(line, "port-forward") || strings.Contains(line, "get issuers") {
			continue
		}
		if strings.Contains(line, "<no value>") {
			t.Errorf("notes: %s", line)
		}
		var args []string
		for _, part := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(strings.TrimPrefix(line, "kubectl "), -1) {
			_, rest, quoted := strings.Cut(part, "'")
			if quoted {
				part = part[:len(part)-len(rest)-1] + strings.TrimSuffix(rest, "'")
			}
			args = append(args, strings.ReplaceAll(part, "'", ""))
		}
		if strings.HasPrefix(line, "kubectl create") {
			args = append(args, "--dry-run=server")
		}
		if _, err := i.TryKubectl("", args...); err != nil {
			t.Errorf("notes say %s: %v", line, err)
		}
		run++
	}
	if run < 3 {
		t.Errorf("notes have only %d commands:\n%s", run, notes)
	}
}

// The release before is this chart with one kind and one field fewer.
func testUpgrade(t *testing.T, i installer) {
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	definitions := filepath.Join(old, "files/crds")
	if err := errors.Join(os.RemoveAll(definitions), os.Mkdir(definitions, 0o755)); err != nil {
		t.Fatal(err)
	}
	for n, manifest := range olddefinitions.Without(t, "ClusterGatewayConfig.spec.trustedHops", "Issuer") {
		if err := os.WriteFile(filepath.Join(definitions, fmt.Sprintf("%d.yaml", n)), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if printed, err := i.helm(t, "install", "", old, "--create-namespace"); err != nil {
		t.Fatal(printed, err)
	}
	if _, err := i.helm(t, "upgrade", "issuers: {letsencrypt: {email: a@example.com, termsAgreed: true}}\ngateway: {settings: {trustedHops: 1}}", folder); err != nil {
		t.Fatal(err)
	}
	i.Kubectl(t, "", "wait", "--for=condition=Established", "crd/issuers.fairway.dev", "--timeout=30s")
	declared := i.Kubectl(t, "", "-n", "fairway-system", "get", "configmap", "fairway-declared", "-o", "json")
	var object struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(declared), &object); err != nil {
		t.Fatal(err)
	}
	applied := 0
	for name, manifest := range object.Data {
		if strings.HasSuffix(name, ".yaml") {
			i.Kubectl(t, manifest, "apply", "--server-side", "--validate=strict", "-f", "-")
			applied++
		}
	}
	if applied != 2 {
		t.Errorf("declared are %v", object.Data)
	}
	if got := i.Kubectl(t, "", "get", "clustergatewayconfig", "default", "-o", "jsonpath={.spec.trustedHops}"); got != "1" {
		t.Errorf("the new field is %q", got)
	}
	if _, err := i.helm(t, "rollback", ""); err != nil {
		t.Fatal(err)
	}
	if got := i.Kubectl(t, "", "get", "issuer", "letsencrypt", "-o", "name"); !strings.Contains(got, "letsencrypt") {
		t.Errorf("the roll-back took an Issuer: %q", got)
	}
	if _, err := i.helm(t, "upgrade", "", folder); err != nil {
		t.Fatal(err)
	}
	i.uninstall(t)
}

// definitions are the custom resource definitions in rendered text.
var definitions = regexp.MustCompile(`(?ms)^# Source: fairway/templates/crds.yaml.*?^---$`)

// GitOps tools apply what "helm template" prints.
func testApply(t *testing.T, i installer) {
	out, err := release{helm: i.program, values: withoutPrometheus}.try(t)
	if err != nil {
		t.Fatal(err)
	}
	i.namespace(t, "shop", "")
	i.namespace(t, "fairway-system", "")
	for range 2 {
		i.Kubectl(t, out, "apply", "--server-side", "--field-manager=argocd-controller", "-f", "-")
	}
	if again := i.Kubectl(t, out, "apply", "--server-side", "--field-manager=argocd-controller", "--dry-run=server", "-f", "-"); strings.Contains(again, "created") {
		t.Error(again)
	}
	i.Kubectl(t, definitions.ReplaceAllString(out, ""), "delete", "-f", "-", "--wait=false")
}

func testSideBySide(t *testing.T, i installer) {
	i.install(t, network("")+"\n"+dns(""))
	second := func(name, namespace, values string) error {
		path := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(path, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := helm(t, i.program, "install", name, folder, "--namespace", namespace, "--create-namespace", "--values", path, "--kubeconfig", i.Kubeconfig)
		return err
	}
	before := i.Kubectl(t, "", "get", allKinds, "-A", "-l", "app.kubernetes.io/instance=fairway", "-o", "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}")
	if err := second("a", "one", "crds: {enabled: false}"); err == nil || !strings.Contains(err.Error(), `IngressClass "fairway"`) {
		t.Errorf("a second release of the same class: %v", err)
	}
	if err := second("a", "one", "gateway: {ingressClassResource: {name: a}}"); err == nil || !strings.Contains(err.Error(), "CustomResourceDefinition") || !strings.Contains(err.Error(), `"fairway"`) {
		t.Errorf("a second release with the definitions: %v", err)
	}
	if err := second("a", "one", "crds: {enabled: false}\ngateway: {ingressClassResource: {name: a}}\n"+dns("")); err == nil || !strings.Contains(err.Error(), "fairway-dns") && !strings.Contains(err.Error(), "kube-dns") {
		t.Errorf("a second release with a DNS: %v", err)
	}
	if err := second("a", "one", "crds: {enabled: false}\ngateway: {ingressClassResource: {name: a}}\n"+network("")); err == nil || !strings.Contains(err.Error(), `ClusterRole "fairway-node"`) {
		t.Errorf("a second release with a network: %v", err)
	}
	for _, r := range [][2]string{{"a", "one"}, {"b", "one"}, {"a", "two"}} {
		if err := second(r[0], r[1], fmt.Sprintf("crds: {enabled: false}\ngateway: {ingressClassResource: {name: %s-%s}}", r[1], r[0])); err != nil {
			t.Errorf("release %s in %s: %v", r[0], r[1], err)
		}
	}
	for _, r := range [][2]string{{"a", "one"}, {"b", "one"}, {"a", "two"}} {
		if _, err := helm(t, i.program, "uninstall", r[0], "--namespace", r[1], "--kubeconfig", i.Kubeconfig); err != nil {
			t.Error(err)
		}
	}
	after := i.Kubectl(t, "", "get", allKinds, "-A", "-l", "app.kubernetes.io/instance=fairway", "-o", "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}")
	if before != after {
		t.Errorf("other releases changed the first (-before +after):\n%s", cmp.Diff(before, after))
	}
	i.uninstall(t)
}

// A namespace that enforces "restricted" admits every pod, also those of "helm test", and without
// users and groups, as OpenShift wants it.
func testRestricted(t *testing.T, i installer) {
	i.namespace(t, "strict", "pod-security.kubernetes.io/enforce: restricted")
	for _, values := range []string{dns(""), "gateway: {podSecurityContext: {runAsUser: null, fsGroup: null}}\ncontroller: {podSecurityContext: {runAsUser: null}}\n" + dns("podSecurityContext: {runAsUser: null}")} {
		pods := 0
		for object, template := range (release{helm: i.program, namespace: "strict", values: values}).render(t).pods() {
			spec := template["spec"].(map[string]any)
			delete(spec, "serviceAccountName")
			pod, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "try", "namespace": "strict"}, "spec": spec})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := i.TryKubectl(string(pod), "apply", "--dry-run=server", "-f", "-"); err != nil {
				t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
			}
			pods++
		}
		if pods != 4 {
			t.Errorf("%d pods", pods)
		}
	}
}

// What a GitOps tool applied, and what the API server then has, are the same for it: no default of
// the server and no way of writing looks like a change by hand.
func testDrift(t *testing.T, i installer) {
	i.install(t, "")
	out, err := release{helm: i.program}.try(t)
	if err != nil {
		t.Fatal(err)
	}
	out = regexp.MustCompile(`(?s)\n---\n# Source: fairway/templates/tests/.*?(\n---\n|$)`).ReplaceAllString(out, "\n---\n")
	if diff, err := i.TryKubectl(out, "diff", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"); err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	i.uninstall(t)
}

// Values that are refused make nothing: neither at install nor at upgrade.
func testNothingHalf(t *testing.T, i installer) {
	if _, err := i.helm(t, "install", "gateway: {kind: DaemonSet, replicaCount: 3}", folder, "--create-namespace"); err == nil {
		t.Fatal("accepted")
	}
	kinds := strings.TrimPrefix(allKinds, "crd,")
	if left := i.names(t, kinds); len(left) != 0 {
		t.Errorf("a refused install left %q", left)
	}
	if printed, err := i.helm(t, "install", "metrics: {podMonitor: {enabled: true}}", folder); err == nil || !strings.Contains(err.Error(), "PodMonitor") {
		t.Errorf("without the Prometheus operator: %v\n%s", err, printed)
	}
	if left := i.names(t, kinds); len(left) != 0 {
		t.Errorf("an install without the operator left %q", left)
	}
}

// Turning autoscaling on takes the number of gateways out of the Deployment. With the command of
// docs/install.md, Helm 4 leaves the number as it is. Helm 3 sets it to 1 whatever one does, as the
// page says; the autoscaler corrects that. Later upgrades change nothing.
func testAutoscaling(t *testing.T, i installer) {
	replicas := func() string {
		return i.Kubectl(t, "", "-n", "fairway-system", "get", "deployment", "fairway-gateway", "-o", "jsonpath={.spec.replicas}")
	}
	upgrade := func(values string) {
		if _, err := i.helm(t, "upgrade", values, folder); err != nil {
			t.Fatal(err)
		}
	}
	i.install(t, "gateway: {replicaCount: 4}")
	i.Kubectl(t, "", "-n", "fairway-system", "scale", "deployment", "fairway-gateway", "--replicas=5")
	upgrade("gateway: {autoscaling: {enabled: true, minReplicas: 4}}")
	want := map[string]string{"helm3": "1", "helm4": "5"}[i.program]
	if got := replicas(); got != want {
		t.Errorf("%s leaves %s replicas, want %s as docs/install.md says", i.program, got, want)
	}
	i.Kubectl(t, "", "-n", "fairway-system", "scale", "deployment", "fairway-gateway", "--replicas=7") // as the autoscaler does
	upgrade("gateway: {autoscaling: {enabled: true, minReplicas: 4}, podAnnotations: {a: b}}")
	if got := replicas(); got != "7" {
		t.Errorf("an upgrade changed 7 replicas of the autoscaler to %s", got)
	}
	i.uninstall(t)
}

// Everything of the chart that Helm packages is meant to be.
func TestThePackageHoldsTheChartAlone(t *testing.T) {
	to := t.TempDir()
	if _, err := helm(t, "helm3", "package", folder, "--destination", to); err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`^(Chart|values)\.yaml$|^values\.schema\.json$|^README\.md$|^\.helmignore$|^templates/|^files/(crds/fairway\.dev_\w+\.yaml|alerts\.yaml|dashboard\.json|defaults\.yaml|elsewhere\.yaml)$`)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name := strings.TrimPrefix(path, folder+"/"); !known.MatchString(name) {
			t.Errorf("the chart has a file %s", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
