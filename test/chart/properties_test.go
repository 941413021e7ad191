package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/soak"
)

func TestRenderingIsAFunctionOfItsInput(t *testing.T) {
	for _, program := range helms {
		first, err := release{helm: program, values: full}.try(t)
		if err != nil {
			t.Fatal(err)
		}
		second, err := release{helm: program, values: full}.try(t)
		if err != nil {
			t.Fatal(err)
		}
		if first != second {
			t.Errorf("%s: %s", program, cmp.Diff(first, second))
		}
		if found := regexp.MustCompile(`(?m)[ \t]+$|[^\n]---$|<nil>|%!|<no value>`).FindString(withoutDefinitions(first)); found != "" {
			t.Errorf("%s: rendered text has %q", program, found)
		}
	}
	impure := regexp.MustCompile(`\b(lookup|rand\w*|now|gen(Ca|SelfSigned|Signed|PrivateKey)\w*|uuidv4|htpasswd|bcrypt|getHostByName|env)\b`)
	for _, path := range templates(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range regexp.MustCompile(`(?s)\{\{.*?\}\}`).FindAllString(string(content), -1) {
			if !strings.HasPrefix(strings.TrimLeft(action, "{- "), "/*") && impure.MatchString(regexp.MustCompile(`"[^"]*"|\.\w+`).ReplaceAllString(action, "")) {
				t.Errorf("%s: %s", path, action)
			}
		}
		if strings.Contains(string(content), "helm.sh/hook:") && !strings.Contains(path, "tests/") {
			t.Errorf("%s has a hook", path)
		}
	}
}

// withoutDefinitions leaves out the custom resource definitions, whose texts are not ours.
func withoutDefinitions(text string) string {
	var kept []string
	for _, document := range strings.Split(text, "\n---\n") {
		if !strings.Contains(document, "kind: CustomResourceDefinition") {
			kept = append(kept, document)
		}
	}
	return strings.Join(kept, "\n---\n")
}

func templates(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"templates/*", "templates/tests/*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if filepath.Ext(path) != "" {
				all = append(all, path)
			}
		}
	}
	return all
}

// defaults are the values of the chart.
func defaults(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(content, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// "helm upgrade --reuse-values" renders new templates with the old values: those that came since
// are missing. The chart then renders what the default would have, or a text without holes where
// the user may remove the value. CI leaves out all values below a name of the first level together,
// a soak also each alone.
func TestMissingValuesAreTheirDefaults(t *testing.T) {
	want := release{values: network("")}.render(t)
	var all []string
	below := map[string][]string{} // the values that are no groups, by the first name of their path; "" are those of one name
	var walk func(path string, value any)
	walk = func(path string, value any) {
		group, ok := value.(map[string]any)
		if path != "" {
			all = append(all, path)
		}
		if !ok {
			first, _, nested := strings.Cut(path, ".")
			if !nested {
				first = ""
			}
			below[first] = append(below[first], path)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(group)) {
			walk(strings.TrimPrefix(path+"."+strings.ReplaceAll(name, ".", "\x00"), "."), group[name])
		}
	}
	walk("", defaults(t))
	removable := regexp.MustCompile(`^(controller|gateway|network|dns)\.(podSecurityContext|containerSecurityContext|resources|nodeSelector|livenessProbe|readinessProbe|startupProbe)\b|^gateway\.service\.ports\.|^network(\.enabled|\.podCIDRs)?$`)
	without := func(paths []string, same bool) {
		t.Helper()
		var args []string
		for _, path := range paths {
			args = append(args, "--set-json", strings.ReplaceAll(path, "\x00", `\.`)+"=null")
		}
		out, err := release{values: network(""), args: args}.try(t)
		if err != nil {
			t.Errorf("without %q: %v", paths, err)
			return
		}
		if found := regexp.MustCompile(`<nil>|%!|<no value>|--[a-z-]+=("|$)`).FindString(withoutDefinitions(out)); found != "" {
			t.Errorf("without %q: %q", paths, found)
		}
		if same {
			compare(t, fmt.Sprintf("without %q", paths), want, parse(t, out))
		}
	}
	// Ranges of pods have no default, there is nothing to see of a network that is off, and a Service without
	// ports is refused.
	other := regexp.MustCompile(`^network\.(podCIDRs|enabled)$|^gateway\.service\.ports\.`)
	for _, group := range slices.Sorted(maps.Keys(below)) {
		below[group] = slices.DeleteFunc(below[group], other.MatchString)
		kept := slices.DeleteFunc(slices.Clone(below[group]), removable.MatchString)
		without(below[group], len(kept) == len(below[group]))
		if len(kept) > 0 && len(kept) < len(below[group]) {
			without(kept, true)
		}
	}
	for _, path := range all {
		if soak.On() || !strings.Contains(path, ".") || slices.Contains([]string{"gateway.service", "gateway.drain", "gateway.autoscaling", "controller.image", "metrics.podMonitor", "network.enabled"}, path) {
			without([]string{path}, !removable.MatchString(path))
		}
	}
}

// "--set" makes numbers of digits, "--set-string" makes texts of them, and both may be what a
// value does not want. The same objects come out, or a refusal that names the value.
func TestNumbersAndTextsAreTheSame(t *testing.T) {
	var paths []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(value)) {
				walk(strings.TrimPrefix(path+"."+name, "."), value[name])
			}
		case float64:
			paths = append(paths, path)
		}
	}
	walk("", defaults(t))
	if len(paths) < 15 {
		t.Fatalf("only %d numbers: %q", len(paths), paths)
	}
	with := func(program, flag, format string) (objects, error) {
		var args []string
		for i, path := range paths {
			number := 39000 - i
			if strings.Contains(path, "MaskSize.") { // the length of a prefix
				number = 25
			}
			args = append(args, flag, path+"="+fmt.Sprintf(format, number))
		}
		r := release{helm: program, values: "gateway: {autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 40000}, hostPort: {enabled: true}}\n" + network(""), args: args}
		out, err := r.try(t)
		return parse(t, out), err
	}
	for _, program := range helms {
		want, err := with(program, "--set", "%d")
		if err != nil {
			t.Fatal(err)
		}
		for flag, format := range map[string]string{"--set-string": "%d", "--set-json": `"%d"`} {
			got, err := with(program, flag, format)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, program+" "+flag, want, got)
		}
	}
	for _, path := range paths {
		if !soak.On() && !strings.Contains(path, "ort") {
			continue
		}
		for flag, value := range map[string]string{"--set-string": "", "--set-json": "null"} {
			if _, err := (release{args: []string{flag, path + "=" + value}}).try(t); err != nil && !strings.Contains(err.Error(), last(path)) {
				t.Errorf("%s %s=%q: %v", flag, path, value, err)
			}
		}
	}
}

// compare compares objects one by one, so that a difference is short.
func compare(t *testing.T, what string, want, got objects) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %s instead of %s", what, got, want)
		return
	}
	for i := range want {
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("%s: %s %s (-want +got):\n%s", what, want[i].GetKind(), want[i].GetName(), diff)
		}
	}
}

func last(path string) string { return path[strings.LastIndex(path, ".")+1:] }

func TestLargeNumbersStayNumbers(t *testing.T) {
	for _, program := range helms {
		args := release{helm: program, args: []string{"--set", "controller.extraArgs.kube-api-burst=1000000", "--set", "gateway.extraArgs.max-connections=2000000"}}.render(t)
		for name, flag := range map[string]string{"fairway-controller": "--kube-api-burst=1000000", "fairway-gateway": "--max-connections=2000000"} {
			text, err := json.Marshal(field(args.must(t, "Deployment", name), "spec.template.spec.containers.0.args"))
			if err != nil || !strings.Contains(string(text), flag+`"`) {
				t.Errorf("%s: no %s in %s (%v)", program, flag, text, err)
			}
		}
	}
}

// No value and no version reaches a selector, because selectors cannot change.
func TestSelectorsNeverChange(t *testing.T) {
	released, err := os.ReadFile("testdata/selectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range []string{"", "nameOverride: other", "fullnameOverride: other", "commonLabels: {a: b, app.kubernetes.io/name: mine}", "controller: {podLabels: {app.kubernetes.io/component: mine, a: b}}\ngateway: {podLabels: {app.kubernetes.io/instance: mine}, labels: {a: b}}"} {
		var got []string
		all := release{values: full + values}.render(t)
		if strings.HasPrefix(values, "controller") { // full has a controller, too
			all = release{values: values + "\ngateways: {internal: {kind: DaemonSet}}\n" + network("podLabels: {app.kubernetes.io/name: mine}") + "\n" + dns("podLabels: {app.kubernetes.io/name: mine}")}.render(t)
		}
		for object, template := range all.pods() {
			if object.GetKind() == "Pod" {
				continue
			}
			selector := field(object, "spec.selector.matchLabels")
			labels := template["metadata"].(map[string]any)["labels"].(map[string]any)
			for key, value := range selector.(map[string]any) {
				if labels[key] != value {
					t.Errorf("%s: %s %s: the selector wants %s=%v, the pods have %v", values, object.GetKind(), object.GetName(), key, value, labels[key])
				}
			}
			text, err := json.Marshal(selector)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(text))
		}
		slices.Sort(got)
		if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(released)), "\n"), got); diff != "" {
			t.Errorf("with %q (-released +rendered):\n%s", values, diff)
		}
	}
}
