package check_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
)

func TestWhatIsSkippedIsSaidInAFewLines(t *testing.T) {
	var eleven []check.Neighbour
	for i := range 12 {
		eleven = append(eleven, check.Neighbour{File: fmt.Sprintf("%d.yaml", i), Line: 1, Why: "why"})
	}
	for _, test := range []struct {
		name    string
		skipped check.Skipped
		want    []string
	}{
		{name: "nothing"},
		{
			"what is no object, by file and line",
			check.Skipped{Over: []check.Neighbour{{File: "a.yaml", Line: 3, Why: "it is a template"}, {File: "b.yaml", Why: "it is empty"}}},
			[]string{"a.yaml:3: passed over: it is a template", "b.yaml: passed over: it is empty"},
		},
		{
			"objects of other kinds by number, in the order of their names",
			check.Skipped{Over: []check.Neighbour{{File: "a.yaml", Kind: "Deployment"}, {File: "b.yaml", Kind: "ConfigMap"}, {File: "b.yaml", Kind: "Deployment"}}},
			[]string{"passed over, as Fairway does not read them: ConfigMap, Deployment (2)"},
		},
		{
			"of many the first ten", check.Skipped{Over: append([]check.Neighbour{{Kind: "ConfigMap"}}, eleven...)},
			[]string{
				"0.yaml:1: passed over: why", "1.yaml:1: passed over: why", "2.yaml:1: passed over: why", "3.yaml:1: passed over: why",
				"4.yaml:1: passed over: why", "5.yaml:1: passed over: why", "6.yaml:1: passed over: why", "7.yaml:1: passed over: why",
				"8.yaml:1: passed over: why", "9.yaml:1: passed over: why", "passed over: 2 more such documents",
				"passed over, as Fairway does not read them: ConfigMap",
			},
		},
		{
			"Ingresses of other classes, and that none is ours",
			check.Skipped{Classes: []check.OtherClass{{Ingresses: 1}, {Class: "nginx", Ingresses: 12}}},
			[]string{"not looked at: 1 Ingress without a class, 12 Ingresses of class nginx; none of the IngressClasses is Fairway's"},
		},
	} {
		if diff := cmp.Diff(test.want, test.skipped.Lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestIngressesOfOtherClassesAreCounted(t *testing.T) {
	class := func(name, controller string) string {
		return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: %s}\nspec: {controller: %s}\n---\n", name, controller)
	}
	of := func(name, class string) string {
		return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %s%s}\nspec: {defaultBackend: {service: {name: web, port: {number: 80}}}%s}\n---\n",
			name, map[bool]string{true: ", annotations: {kubernetes.io/ingress.class: nginx}"}[class == "annotation"],
			map[bool]string{true: ", ingressClassName: " + class}[class != "" && class != "annotation"])
	}
	var many strings.Builder
	for i := range 11 {
		many.WriteString(class(fmt.Sprintf("c%02d", i), "fairway.dev/ingress-controller"))
	}
	foreign := of("a", "nginx") + of("b", "annotation") + of("c", "absent") + of("d", "")
	for _, test := range []struct{ name, files, want string }{
		{"files without a class: all are ours", foreign, ""},
		{
			"classes of others only", class("nginx", "k8s.io/ingress-nginx") + foreign,
			"not looked at: 1 Ingress without a class, 1 Ingress of class absent, 2 Ingresses of class nginx; none of the IngressClasses is Fairway's",
		},
		{
			"ours are named", class("nginx", "k8s.io/ingress-nginx") + class("ours", "fairway.dev/ingress-controller") + foreign + of("e", "ours"),
			"not looked at: 1 Ingress without a class, 1 Ingress of class absent, 2 Ingresses of class nginx; Fairway's classes here: ours",
		},
		{
			"of many of ours the first ten", many.String() + of("a", "absent"),
			"not looked at: 1 Ingress of class absent; Fairway's classes here: c00 c01 c02 c03 c04 c05 c06 c07 c08 c09 …",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(find(t, put(t, "-- all.yaml --\n"+test.files)).Lines(), "\n"); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
