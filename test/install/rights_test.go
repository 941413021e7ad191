package install_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// right is one thing that a role allows: a verb on a resource (with its
// subresource), in every namespace or in one.
type right struct{ Namespace, Group, Resource, Verb string }

func (r right) String() string {
	return strings.TrimSpace(r.Verb + " " + r.Resource + "." + cmp.Or(r.Group, "core") + " " + r.Namespace)
}

// policy lets the API server note every request of the controller's, without
// what it carried.
const policy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, users: ["` + controllerUser + `"]}
  - {level: None}
`

// audit is the flags with which an API server writes the controller's requests
// to the file.
func audit(t *testing.T, file string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--audit-policy-file=" + path, "--audit-log-path=" + file, "--audit-log-mode=blocking"}
}

// event is what is read of an Event of audit.k8s.io/v1.
type event struct {
	Verb           string
	ObjectRef      *struct{ Namespace, APIGroup, Resource, Subresource string }
	ResponseStatus struct{ Code int }
}

// used is the rights that the requests in the file made use of.
func used(t *testing.T, file string) map[right]bool {
	t.Helper()
	content, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	found := map[right]bool{}
	lines := bufio.NewScanner(content)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("read what the API server noted: %v: %s", err, lines.Text())
		}
		if e.ObjectRef == nil {
			continue // no resource: discovery
		}
		r := right{Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Verb: e.Verb}
		if e.ObjectRef.Subresource != "" {
			r.Resource += "/" + e.ObjectRef.Subresource
		}
		note := func(r right) {
			found[r] = true
			r.Namespace = e.ObjectRef.Namespace
			found[r] = true
		}
		note(r)
		if r.Verb == "patch" && e.ResponseStatus.Code == http.StatusCreated { // which needs both rights
			r.Verb = "create"
			note(r)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// granted is the rights that the rules give, each once.
func granted(namespace string, rules []rbacv1.PolicyRule) []right {
	var all []right
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, right{Namespace: namespace, Group: group, Resource: resource, Verb: verb})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b right) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

func TestRightsAreReadAsTheyAreMeant(t *testing.T) {
	got := granted("shop", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}, ResourceNames: []string{"ca"}},
	})
	want := []right{{"shop", "", "secrets", "create"}, {"shop", "", "secrets", "get"}}
	if !slices.Equal(got, want) {
		t.Errorf("granted %v, want %v", got, want)
	}
	for _, r := range got {
		if strings.Contains(r.Verb, "*") || strings.Contains(r.Resource, "*") {
			t.Errorf("%s is more than anybody needs", r)
		}
	}
}
