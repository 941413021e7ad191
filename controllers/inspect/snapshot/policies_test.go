package snapshot_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// clusterPolicy is a list of one, in a version.
const clusterPolicy = `{"apiVersion": "policy.networking.k8s.io/%s", "kind": "ClusterNetworkPolicyList", "metadata": {}, "items": [{
	"apiVersion": "policy.networking.k8s.io/%[1]s", "kind": "ClusterNetworkPolicy", "metadata": {"name": "guard"},
	"spec": {"tier": "Baseline", "priority": 7, "subject": {"namespaces": {}}, "tomorrow": {}}}]}`

// Policies of the cluster are read in the version that it has. Without their definition there are none, also if it
// goes in this moment.
func TestClusterNetworkPoliciesOfAnyVersion(t *testing.T) {
	const status = `{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": %q, "code": %d}`
	for name, test := range map[string]struct {
		known  []string          // versions, at first
		served map[string]string // what is answered, by version
		want   string
	}{
		"the newer version": {[]string{"v1beta1", "v1alpha2"}, map[string]string{"v1beta1": fmt.Sprintf(clusterPolicy, "v1beta1")}, "guard Baseline 7"},
		"the older version": {[]string{"v1alpha2"}, map[string]string{"v1alpha2": fmt.Sprintf(clusterPolicy, "v1alpha2")}, "guard Baseline 7"},
		"no definition":     {nil, nil, ""},
		"it has just gone":  {[]string{"v1beta1", "v1alpha2"}, nil, ""},
		"not allowed": {
			[]string{"v1beta1"}, map[string]string{"v1beta1": fmt.Sprintf(status, "Forbidden", http.StatusForbidden)},
			"you need the permission to list clusternetworkpolicies.policy.networking.k8s.io in all namespaces",
		},
		"another answer": {
			[]string{"v1alpha2"}, map[string]string{"v1alpha2": strings.Replace(fmt.Sprintf(clusterPolicy, "v1alpha2"), "7", `"seven"`, 1)},
			"read ClusterNetworkPolicy guard: ",
		},
	} {
		mapper := meta.NewDefaultRESTMapper(nil)
		for _, kind := range policy.ClusterKinds() {
			for _, version := range test.known {
				if kind.Version == version {
					mapper.Add(kind, meta.RESTScopeRoot)
				}
			}
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			version := strings.Split(r.URL.Path, "/")[3]
			answer, code := test.served[version], http.StatusOK
			switch {
			case answer == "":
				answer, code = fmt.Sprintf(status, "NotFound", http.StatusNotFound), http.StatusNotFound
			case strings.Contains(answer, "Forbidden"):
				code = http.StatusForbidden
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(answer))
		}))
		reader, err := client.New(&rest.Config{Host: server.URL}, client.Options{Scheme: runtime.NewScheme(), Mapper: mapper})
		if err != nil {
			t.Fatal(err)
		}
		found, err := snapshot.Reader{Reader: reader}.ClusterNetworkPolicies(t.Context())
		got := ""
		for _, each := range found {
			got += fmt.Sprint(each.Name, " ", each.Spec.Tier, " ", each.Spec.Priority)
		}
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.HasPrefix(got, test.want)) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		server.Close()
	}
}
