package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Registry, repository, tag and digest make a reference in every combination. The digest wins, and
// none is there by default.
func TestReferencesOfImages(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cases := map[string]struct{ image, want string }{
		"none":          {"{}", "ghcr.io/fairwaynet/fairway-gateway:v0.1.0"},
		"r":             {"{registry: r.test}", "r.test/fairwaynet/fairway-gateway:v0.1.0"},
		"n":             {"{repository: x}", "ghcr.io/x:v0.1.0"},
		"t":             {"{tag: v2}", "ghcr.io/fairwaynet/fairway-gateway:v2"},
		"t-is-a-number": {"{tag: 1.5}", "ghcr.io/fairwaynet/fairway-gateway:1.5"},
		"d":             {"{digest: '" + digest + "'}", "ghcr.io/fairwaynet/fairway-gateway@" + digest},
		"r-n":           {"{registry: r.test, repository: x}", "r.test/x:v0.1.0"},
		"r-t":           {"{registry: r.test, tag: v2}", "r.test/fairwaynet/fairway-gateway:v2"},
		"r-d":           {"{registry: r.test, digest: '" + digest + "'}", "r.test/fairwaynet/fairway-gateway@" + digest},
		"n-t":           {"{repository: x, tag: v2}", "ghcr.io/x:v2"},
		"n-d":           {"{repository: x, digest: '" + digest + "'}", "ghcr.io/x@" + digest},
		"t-d":           {"{tag: v2, digest: '" + digest + "'}", "ghcr.io/fairwaynet/fairway-gateway:v2@" + digest},
		"r-n-t":         {"{registry: r.test, repository: x, tag: v2}", "r.test/x:v2"},
		"r-n-d":         {"{registry: r.test, repository: x, digest: '" + digest + "'}", "r.test/x@" + digest},
		"r-t-d":         {"{registry: r.test, tag: v2, digest: '" + digest + "'}", "r.test/fairwaynet/fairway-gateway:v2@" + digest},
		"n-t-d":         {"{repository: x, tag: v2, digest: '" + digest + "'}", "ghcr.io/x:v2@" + digest},
		"r-n-t-d":       {"{registry: r.test, repository: x, tag: v2, digest: '" + digest + "'}", "r.test/x:v2@" + digest},
		"no-registry":   {"{registry: ''}", "fairwaynet/fairway-gateway:v0.1.0"},
	}
	values := "gateways:\n"
	for name, c := range cases {
		values += fmt.Sprintf("  %q: {image: %s}\n", name, c.image)
	}
	all := release{values: values}.render(t)
	for name, c := range cases {
		if got := field(all.must(t, "Deployment", "fairway-gateway-"+name), "spec.template.spec.containers.0.image"); got != c.want {
			t.Errorf("%s: %s is %v, want %s", name, c.image, got, c.want)
		}
	}
	for values, want := range map[string]string{
		"controller: {image: {registry: r.test, tag: v2}}":                            "r.test/fairwaynet/fairway:v2",
		"global: {image: {registry: r.test/mirror}}":                                  "r.test/mirror/fairwaynet/fairway:v0.1.0",
		"global: {imageRegistry: r.test/}":                                            "r.test/fairwaynet/fairway:v0.1.0",
		"global: {image: {registry: r.test}}\ncontroller: {image: {registry: other}}": "r.test/fairwaynet/fairway:v0.1.0",
	} {
		if got := field(release{values: values}.render(t).must(t, "Deployment", "fairway-controller"), "spec.template.spec.containers.0.image"); got != want {
			t.Errorf("%s: the controllers run %v, want %s", values, got, want)
		}
	}
}

// A private registry serves every image, and its Secret reaches every pod and every account: those
// of tests, too.
func TestEveryImageComesFromThePrivateRegistry(t *testing.T) {
	all := release{values: full + "\nglobal: {image: {registry: r.test}, imagePullSecrets: [first]}\nimagePullSecrets: [{name: second}, first]"}.render(t)
	pods := all.pods()
	if len(pods) != 7 {
		t.Fatalf("%d pods among %s", len(pods), all)
	}
	for object, template := range pods {
		spec := template["spec"].(map[string]any)
		for _, kind := range []string{"containers", "initContainers"} {
			containers, _ := spec[kind].([]any)
			for _, container := range containers {
				if image := container.(map[string]any)["image"].(string); !strings.HasPrefix(image, "r.test/") {
					t.Errorf("%s %s runs %s", object.GetKind(), object.GetName(), image)
				}
			}
		}
		if got := fmt.Sprint(spec["imagePullSecrets"]); got != "[map[name:second] map[name:first]]" {
			t.Errorf("%s %s has the pull secrets %s", object.GetKind(), object.GetName(), got)
		}
	}
	for _, object := range all {
		if object.GetKind() == "ServiceAccount" && field(object, "imagePullSecrets.1.name") != "first" {
			t.Errorf("account %s has the pull secrets %v", object.GetName(), field(object, "imagePullSecrets"))
		}
	}
}

// No pod is bound to an architecture, because all images have both.
func TestNoPodIsBoundToAnArchitecture(t *testing.T) {
	for object, template := range (release{values: full}).render(t).pods() {
		if text := fmt.Sprint(template); strings.Contains(text, "kubernetes.io/arch") {
			t.Errorf("%s %s: %s", object.GetKind(), object.GetName(), text)
		}
	}
}

// All pods, those of tests too, are what Pod Security calls restricted, unless ports of the node
// are asked for. Users may remove what their cluster sets itself.
func TestPodsAreRestricted(t *testing.T) {
	for object, template := range (release{values: dns("")}).render(t).pods() {
		pod := template["spec"].(map[string]any)
		security := pod["securityContext"].(map[string]any)
		if security["runAsNonRoot"] != true || security["runAsUser"] != float64(65532) {
			t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), security)
		}
		for _, container := range pod["containers"].([]any) {
			own := container.(map[string]any)["securityContext"].(map[string]any)
			if own["allowPrivilegeEscalation"] != false || own["readOnlyRootFilesystem"] != true || fmt.Sprint(own["capabilities"]) != "map[drop:[ALL]]" {
				t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), own)
			}
		}
	}
	for _, program := range helms {
		removed := release{helm: program, values: `
controller: {podSecurityContext: {runAsUser: null}}
gateway: {podSecurityContext: {runAsUser: null, fsGroup: null}, containerSecurityContext: null}
`}.render(t)
		for _, name := range []string{"fairway-controller", "fairway-gateway"} {
			security := field(removed.must(t, "Deployment", name), "spec.template.spec.securityContext").(map[string]any)
			if keys := fmt.Sprint(security); strings.Contains(keys, "runAsUser") || strings.Contains(keys, "fsGroup") || security["runAsNonRoot"] != true {
				t.Errorf("%s: %s has %s", program, name, keys)
			}
		}
		if got := field(removed.must(t, "Deployment", "fairway-gateway"), "spec.template.spec.containers.0.securityContext"); got != nil {
			t.Errorf("%s: the gateway's container has %v", program, got)
		}
	}
}

// A budget never keeps a node from being drained: there is none for one replica and for a
// DaemonSet, and every other allows at least one eviction.
func TestNodesCanBeDrained(t *testing.T) {
	type gateway struct {
		Kind       string         `json:"kind"`
		Budget     map[string]any `json:"podDisruptionBudget"`
		Replicas   *int           `json:"replicaCount,omitempty"`
		Autoscaled map[string]any `json:"autoscaling,omitempty"`
	}
	cases := map[string]gateway{}
	for i, budget := range []map[string]any{{}, {"minAvailable": 1}, {"minAvailable": "50%"}, {"maxUnavailable": 2}, {"maxUnavailable": "30%"}, {"enabled": false}} {
		for _, replicas := range []int{0, 1, 2, 3} {
			cases[fmt.Sprintf("deployment-%d-%d", i, replicas)] = gateway{Kind: "Deployment", Budget: budget, Replicas: &replicas}
		}
		cases[fmt.Sprintf("daemon-%d", i)] = gateway{Kind: "DaemonSet", Budget: budget}
		least := 2
		cases[fmt.Sprintf("autoscaled-%d", i)] = gateway{Kind: "Deployment", Budget: budget, Autoscaled: map[string]any{"enabled": true, "minReplicas": least}}
	}
	values, err := yaml.Marshal(map[string]any{"gateways": cases})
	if err != nil {
		t.Fatal(err)
	}
	all := release{values: string(values)}.render(t)
	for name, c := range cases {
		made := all.find("PodDisruptionBudget", "fairway-gateway-"+name)
		replicas := 2
		if c.Replicas != nil {
			replicas = *c.Replicas
		}
		wanted := c.Kind == "Deployment" && replicas > 1 && c.Budget["enabled"] != false
		if (made != nil) != wanted {
			t.Errorf("%s: budget %v", name, made)
		}
		if made != nil && evictable(made.Object["spec"].(map[string]any), replicas) < 1 {
			t.Errorf("%s: no eviction is allowed by %v", name, made.Object["spec"])
		}
	}
}

// evictable is how many of so many healthy pods Kubernetes evicts at once: percentages round up.
func evictable(budget map[string]any, pods int) int {
	count := func(value any) int {
		if text, ok := value.(string); ok {
			var percent int
			if _, err := fmt.Sscanf(text, "%d%%", &percent); err != nil {
				return 0
			}
			return (pods*percent + 99) / 100
		}
		number, _ := value.(float64)
		return int(number)
	}
	if least, ok := budget["minAvailable"]; ok {
		return pods - count(least)
	}
	return count(budget["maxUnavailable"])
}

// What two releases make does not meet: neither in one namespace nor in two, nor under one name.
func TestReleasesSideBySide(t *testing.T) {
	cluster := []string{"CustomResourceDefinition", "IngressClass", "ClusterRole", "ClusterRoleBinding"}
	seen := map[string]string{}
	for _, r := range []release{
		{},
		{name: "a", namespace: "one"}, {name: "a", namespace: "two"}, {name: "b", namespace: "one"},
		{name: "fairway", namespace: "one"}, {name: "fairway-a", namespace: "one"},
		{name: strings.Repeat("long-", 10) + "1", namespace: "one"}, {name: strings.Repeat("long-", 10) + "2", namespace: "one"},
	} {
		which := r.namespace + "/" + r.name
		if r.name != "" {
			r.values = fmt.Sprintf("crds: {enabled: false}\ngateway: {ingressClassResource: {name: class-%s-%s}}\ngateways: {internal: {ingressClassResource: {name: internal-%s-%s}}}", r.namespace, r.name, r.namespace, r.name)
		}
		all := r.render(t)
		for _, object := range all {
			key := object.GetKind() + " " + or(object.GetNamespace(), "-") + "/" + object.GetName()
			if slices.Contains(cluster, object.GetKind()) {
				key = object.GetKind() + " " + object.GetName()
			}
			if before, met := seen[key]; met {
				t.Errorf("%s is of %s and of %s", key, before, which)
			}
			seen[key] = which
			if len(object.GetName()) > 63 && object.GetKind() == "Service" {
				t.Errorf("%s: the name %s is too long", which, object.GetName())
			}
			if object.GetKind() == "IngressClass" {
				value := "controller " + field(object, "spec.controller").(string)
				if before, met := seen[value]; met && before != which {
					t.Errorf("%s is of %s and of %s", value, before, which)
				}
				seen[value] = which
			}
			if object.GetKind() == "ConfigMap" {
				for name := range field(object, "data").(map[string]any) {
					if before, met := seen["declared "+name]; met && name != "owner" {
						t.Errorf("%s is declared by %s and by %s", name, before, which)
					}
					seen["declared "+name] = which
				}
			}
		}
	}
}

// Names that YAML takes for numbers or booleans stay names.
func TestNamesThatLookLikeNumbers(t *testing.T) {
	all := release{name: "1", namespace: "007", values: `
gateway: {ingressClassResource: {name: "2"}, serviceAccount: {name: "3"}}
gateways: {"1e3": {}, "true": {}}
imagePullSecrets: ["4"]
controller: {watchNamespaces: ["5"], podLabels: {a: 6}}
`}.render(t)
	for _, object := range all {
		metadata := object.Object["metadata"].(map[string]any)
		for _, name := range []string{"name", "namespace"} {
			if value, ok := metadata[name]; ok {
				if text, ok := value.(string); !ok || text == "" {
					t.Errorf("%s: %s is %v", object.GetKind(), name, value)
				}
			}
		}
		if labels, ok := metadata["labels"].(map[string]any); ok {
			for key, value := range labels {
				if _, ok := value.(string); !ok {
					t.Errorf("%s %s: label %s is %v", object.GetKind(), object.GetName(), key, value)
				}
			}
		}
	}
	all.must(t, "IngressClass", "1e3")
	all.must(t, "IngressClass", "2")
	if got := field(all.must(t, "Deployment", "1-fairway-gateway"), "spec.selector.matchLabels"); fmt.Sprint(got) != "map[app.kubernetes.io/component:gateway app.kubernetes.io/instance:1 app.kubernetes.io/name:fairway fairway.dev/gateway:default]" {
		t.Errorf("the selector is %v", got)
	}
	if got, ok := field(all.must(t, "Deployment", "1-fairway-gateway"), "spec.template.spec.serviceAccountName").(string); !ok {
		t.Errorf("the account is %v", got)
	}
}
