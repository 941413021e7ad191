package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// put writes files into a folder of the test's own.
func put(t *testing.T, archive string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, file := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, file.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, file.Data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// find checks files, or all, in a folder, whose name none of the findings has.
func find(t *testing.T, dir string, paths ...string) check.Findings {
	t.Helper()
	all := []string{dir}
	if len(paths) > 0 {
		all = nil
	}
	for _, path := range paths {
		all = append(all, filepath.Join(dir, path))
	}
	found, err := check.Files(t.Context(), all, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range found.Problems {
		found.Problems[i].File = strings.TrimPrefix(found.Problems[i].File, dir+"/")
	}
	for i := range found.Hints {
		found.Hints[i].File = strings.TrimPrefix(found.Hints[i].File, dir+"/")
	}
	for i := range found.Over {
		found.Over[i].File = strings.TrimPrefix(found.Over[i].File, dir+"/")
	}
	return found
}

// lines are the findings for people.
func lines(found check.Findings) []string {
	var all []string
	for _, each := range found.Problems {
		all = append(all, each.String())
	}
	return all
}

// ingress is an Ingress of a host in flow style, in five lines.
func ingress(name, host, service string) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s}
spec: {rules: [{host: %q, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %s, port: {number: 80}}}}]}}]}
---
`, name, host, service)
}

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\n"

func TestFindingsAreInTheOrderOfFilesAndLines(t *testing.T) {
	t.Parallel()
	dir := put(t, "-- b/shop.yaml --\n"+ingress("one", "One.test", "web")+ingress("two", "Two.test", "web")+ingress("three", "Three.test", "web")+
		"-- b/a.yaml --\nkind: [\n"+
		"-- a.yaml --\n"+service+ingress("missing", "a.test", "gone"))
	got := lines(find(t, dir, "b", "a.yaml"))
	var places []string
	for _, line := range got {
		place, _, _ := strings.Cut(line, ": ")
		places = append(places, place)
	}
	if diff := cmp.Diff([]string{"a.yaml:9", "b/a.yaml:1", "b/shop.yaml:4", "b/shop.yaml:9", "b/shop.yaml:14"}, places); diff != "" {
		t.Errorf("places (-want +got):\n%s\nof %s", diff, strings.Join(got, "\n"))
	}
}

func TestHostsAndBackendsAreCounted(t *testing.T) {
	t.Parallel()
	dir := put(t, "-- shop.yaml --\n"+service+ingress("one", "a.test", "web")+ingress("two", "*.a.test", "web")+ingress("three", "", "web")+ingress("four", "A.test", "web"))
	if found := find(t, dir); found.Version != 1 || found.Hosts != 3 || found.Backends != 1 || len(found.Problems) != 1 {
		t.Errorf("found %+v", found)
	}
}

func TestAFindingIsOneLineForPeople(t *testing.T) {
	shop := types.NamespacedName{Namespace: "shop", Name: "web"}
	nowhere := func(problem.Problem) (folder.Place, bool) { return folder.Place{File: "never.yaml", Line: 1}, false }
	at := func(line int) func(problem.Problem) (folder.Place, bool) {
		return func(problem.Problem) (folder.Place, bool) { return folder.Place{File: "a.yaml", Line: line}, true }
	}
	for _, test := range []struct {
		name   string
		p      problem.Problem
		locate func(problem.Problem) (folder.Place, bool)
		want   string
	}{
		{
			"a field of an object", problem.Problem{Object: problem.Object{Kind: "Ingress", Name: shop}, Field: "spec.rules[0].host", Reason: "InvalidHost", Message: "no"}, at(7),
			"a.yaml:7: Ingress shop/web: spec.rules[0].host: InvalidHost: no",
		},
		{
			"an object that is in no namespace", problem.Problem{Object: problem.Object{Kind: "IngressClass", Name: types.NamespacedName{Name: "x"}}, Reason: "R", Message: "m"}, at(7),
			"a.yaml:7: IngressClass x: R: m",
		},
		{
			"an object that stands in no file", problem.Problem{Object: problem.Object{Kind: "Service", Name: shop}, Reason: "R", Message: "m"}, nowhere,
			"Service shop/web: R: m",
		},
		{
			"a file: its field is the line", problem.Problem{Object: problem.Object{Kind: folder.FileKind, Name: types.NamespacedName{Name: "a.yaml"}}, Field: "line 7", Reason: "R", Message: "m"}, at(7),
			"a.yaml:7: R: m",
		},
		{
			"a file as a whole", problem.Problem{Object: problem.Object{Kind: folder.FileKind, Name: types.NamespacedName{Name: "a.yaml"}}, Reason: "R", Message: "m"}, at(0),
			"a.yaml: R: m",
		},
	} {
		if got := check.FindingOf(test.locate, test.p).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// The words of its JSON are an interface: lists are there, if empty.
func TestFindingsInJSON(t *testing.T) {
	t.Parallel()
	for archive, want := range map[string]string{
		"-- a.yaml --\n" + ingress("one", "One.test", "web"): `{"version":1,"hosts":0,"backends":0,"problems":[{"file":"a.yaml","line":4,"kind":"Ingress","namespace":"default","name":"one",` +
			`"field":"spec.rules[0].host","reason":"InvalidHost","message":"host \"One.test\" is not served: write it in lower case; requests match in any case"}],` +
			`"passedOver":[],"otherClasses":[]}`,
		"-- a.yaml --\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}, policyTypes: [Ingress], egress: [{}]}\n": `{"version":1,"hosts":0,"backends":0,"problems":[],` +
			`"hints":[{"file":"a.yaml","line":4,"kind":"NetworkPolicy","namespace":"default","name":"a","field":"spec.egress","reason":"RulesNotAsked",` +
			`"message":"these rules do nothing: spec.policyTypes does not have Egress"}],"passedOver":[],"otherClasses":[]}`,
		"": `{"version":1,"hosts":0,"backends":0,"problems":[],"passedOver":[],"otherClasses":[]}`,
	} {
		if got, err := json.Marshal(find(t, put(t, archive))); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

// mistakes has one of each kind of object.
const mistakes = `-- all.yaml --
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: inside}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: ClusterGatewayConfig, name: absent}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {fairway.dev/issuer: absent, fairway.dev/client-ca: "No Name"}}
spec:
  ingressClassName: inside
  tls: [{hosts: [shop.test], secretName: broken}, {hosts: [Shop.test]}]
  rules: [{host: shop.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]
---
apiVersion: v1
kind: Secret
metadata: {name: broken}
type: kubernetes.io/tls
data: {tls.crt: YnJva2Vu, tls.key: YnJva2Vu}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {fairway.dev/backend-ca: "No Name"}}
spec: {ports: [{port: 80, appProtocol: nonsense}]}
---
apiVersion: fairway.dev/v1alpha1
kind: ClusterGatewayConfig
metadata: {name: inside}
spec: {httpPort: 70000}
`

func TestWhatAControllerWouldReportIsFound(t *testing.T) {
	t.Parallel()
	dir := put(t, mistakes)
	found := map[string]bool{}
	for _, line := range lines(find(t, dir)) {
		found[line] = true
	}
	files, err := folder.New(folder.Options{Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	reported := 0
	err = snapshot.Take(t.Context(), files, index.Scope{ClaimWithoutClasses: true}, func(ctx context.Context, c *edge.Controllers) error {
		picture, err := c.FirstPass(ctx)
		if err != nil {
			return err
		}
		reported = len(picture.Problems())
		for _, p := range picture.Problems() {
			if line := strings.TrimPrefix(check.FindingOf(files.Locate, p).String(), dir+"/"); !found[line] {
				t.Errorf("not found: %s", line)
			}
		}
		return nil
	})
	if err != nil || reported < 4 {
		t.Errorf("a controller reports %d, %v", reported, err)
	}
}

// Two classes of one host are a conflict only if one installation serves both. An Issuer
// of one installation does not serve the other's Ingresses. A class of another product
// counts if it is asked for.
func TestInstallationsAreCheckedEachOnItsOwn(t *testing.T) {
	t.Parallel()
	dir := put(t, `-- a.yaml --
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: red}
spec: {controller: fairway.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: blue}
spec: {controller: fairway.dev/blue}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: taken}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: le}
spec: {directory: "https://ca.test/directory", termsAgreed: true}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: red}
spec:
  ingressClassName: red
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: blue, annotations: {fairway.dev/issuer: le}}
spec:
  ingressClassName: blue
  tls: [{hosts: [a.test], secretName: blue-tls}]
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: taken}
spec:
  ingressClassName: taken
  rules: [{host: A.test}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
`)
	for controller, want := range map[route.Controller]struct {
		hosts, others int
		problems      []string
	}{
		"":                     {2, 1, []string{"IssuerNotOurs"}},
		"fairway.dev/blue":     {1, 2, []string{"IssuerNotOurs"}},
		"k8s.io/ingress-nginx": {0, 2, []string{"InvalidHost"}},
	} {
		found, err := check.Files(t.Context(), []string{dir}, nil, controller)
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, p := range found.Problems {
			reasons = append(reasons, p.Reason)
		}
		if found.Hosts != want.hosts || len(found.Classes) != want.others || !slices.Equal(reasons, want.problems) {
			t.Errorf("%q: %d hosts, others %v, problems %v, want %+v", controller, found.Hosts, found.Classes, found.Problems, want)
		}
	}
}

func TestWhatIsAskedOfIssuersIsChecked(t *testing.T) {
	t.Parallel()
	dir := put(t, `-- a.yaml --
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: broken}
spec: {directory: "ftp://ca.test", termsAgreed: true}
---
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: good}
spec: {directory: "https://ca.test/directory", termsAgreed: true}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {fairway.dev/issuer: good}}
spec:
  tls: [{hosts: ["*.shop.test"], secretName: web-tls}]
  rules: [{host: "*.shop.test"}]
`)
	all := strings.Join(lines(find(t, dir)), "\n")
	for _, want := range []string{"a.yaml:1: Issuer broken: IssuerNotReady: ", "a.yaml:15: Ingress default/web: spec.tls[0].secretName: WildcardNeedsDNS: "} {
		if !strings.Contains(all, want) {
			t.Errorf("not a word of %q in:\n%s", want, all)
		}
	}
}

func TestWhatCannotBeReadAtAllIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := check.Files(t.Context(), []string{"testdata/absent.yaml"}, nil, ""); err == nil || !strings.HasPrefix(err.Error(), "testdata/absent.yaml ") {
		t.Errorf("a file that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := check.Files(ctx, []string{t.TempDir()}, nil, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("after its time: %v", err)
	}
}

func TestStandardInputIsAFile(t *testing.T) {
	t.Parallel()
	found, err := check.Files(t.Context(), []string{"-"}, strings.NewReader(service+ingress("one", "One.test", "web")), "")
	if err != nil || len(found.Problems) != 1 || found.Problems[0].Line != 9 || found.Problems[0].File == "" {
		t.Errorf("found %+v, %v", found, err)
	}
}

// Manifests may come from anybody: a pipeline checks what strangers propose. What
// they write neither steers a terminal nor passes for a line of check's own.
func TestHostileManifestsSteerNoTerminal(t *testing.T) {
	t.Parallel()
	dir := put(t, "-- a\x1b[31m.yaml --\n"+`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {"fairway.dev/is\e[31msuer\nno problems": "\e[31m\n", fairway.dev/client-ca: "\e[31m\n"}}
spec: {ingressClassName: fairway, rules: [{host: "a\e[31m\n", http: {paths: [{path: "/\e[31m\n", pathType: "\e[31m\n", backend: {service: {name: "\e[31m\n", port: {name: "\e[31m\n"}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: other}
spec: {ingressClassName: "\e[31mevil\nno problems"}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: fairway}
spec: {controller: fairway.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: inside}
spec: {controller: fairway.dev/ingress-controller, "\e[31m\n": 1}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: "\e[31m\n"}
---
apiVersion: apps/v1
kind: "Depl\e[31moy\nment"
metadata: {name: a}
---
"\e[31m\n": *unknown
`)
	found := find(t, dir)
	all := append(lines(found), found.Lines()...)
	if len(found.Problems) < 4 || len(found.Lines()) < 2 {
		t.Errorf("found %s", strings.Join(all, "\n"))
	}
	for _, line := range all {
		if strings.ContainsAny(line, "\x1b\n\x00") {
			t.Errorf("reaches the terminal: %q", line)
		}
	}
}

// A hint is sure of what it says: it is silent if the pods are elsewhere, and knows what each kind of
// workload makes.
func TestHintsToPolicies(t *testing.T) {
	t.Parallel()
	const web = "containers: [{name: web, ports: [{name: http, containerPort: 80}]}]"
	template := "template: {metadata: {labels: {app: web}}, spec: {" + web + "}}"
	workload := func(kind, namespace, spec string) string {
		return fmt.Sprintf("apiVersion: any/v1\nkind: %s\nmetadata: {name: web, namespace: %q, labels: {app: web}}\nspec: {%s}\n---\n", kind, namespace, spec)
	}
	policy := func(app, port, more string) string {
		return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: np}\n"+
			"spec: {podSelector: {matchLabels: {app: %s}}, ingress: [{ports: [{port: %s}]}]%s}\n---\n", app, port, more)
	}
	sidecar := func(policy string) string {
		return workload("Pod", "", "initContainers: [{name: a, "+policy+"ports: [{name: http, containerPort: 80}]}]")
	}
	for name, test := range map[string]struct{ files, want string }{
		"no workload":                          {policy("web", "http", ""), ""},
		"workloads of another namespace":       {policy("web", "http", "") + workload("Pod", "shop", web), ""},
		"a workload whose labels differ":       {policy("wbe", "http", "") + workload("Pod", "", web), "SelectsNoPod"},
		"a pod":                                {policy("web", "http", "") + workload("Pod", "", web), ""},
		"a deployment":                         {policy("web", "http", "") + workload("Deployment", "default", template), ""},
		"a stateful set":                       {policy("web", "http", "") + workload("StatefulSet", "", template), ""},
		"a cron job":                           {policy("web", "http", "") + workload("CronJob", "", "jobTemplate: {spec: {"+template+"}}"), ""},
		"an unknown kind":                      {policy("wbe", "http", "") + workload("Rollout", "", template), ""},
		"a workload without a template":        {policy("wbe", "http", "") + workload("Deployment", "", "replicas: 1"), ""},
		"a workload that cannot be read":       {policy("wbe", "http", "") + workload("Deployment", "", "template: 1"), ""},
		"the host's network":                   {policy("web", "http", "") + workload("Pod", "", web+", hostNetwork: true"), "HostNetwork"},
		"one of two has the host's network":    {policy("web", "http", "") + workload("Pod", "", web) + workload("Job", "", "template: {metadata: {labels: {app: web}}, spec: {hostNetwork: true}}"), ""},
		"a port that nobody has":               {policy("web", "https", "") + workload("Pod", "", web), "NoSuchPort"},
		"a port by number":                     {policy("web", "81", "") + workload("Pod", "", web), ""},
		"a port of another protocol":           {policy("web", "http, protocol: UDP", "") + workload("Pod", "", web), "NoSuchPort"},
		"a port of a sidecar":                  {policy("web", "http", "") + sidecar("restartPolicy: Always, "), ""},
		"a port of a container that has ended": {policy("web", "http", "") + sidecar(""), "NoSuchPort"},
		"rules for a direction not asked for":  {policy("web", "80", ", policyTypes: [Egress]"), "RulesNotAsked"},
		"a policy that is not understood":      {strings.Replace(policy("web", "80", ""), "matchLabels: {app: web}", "matchLabels: {-: a}", 1) + workload("Pod", "", web), ""},
	} {
		var reasons []string
		for _, hint := range find(t, put(t, "-- a.yaml --\n"+test.files)).Hints {
			reasons = append(reasons, hint.Reason)
		}
		if got := strings.Join(reasons, " "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
