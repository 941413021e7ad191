//go:build lab && network

package e2e_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"

	"github.com/fairwaynet/fairway/test/clusterpolicy"
	"github.com/fairwaynet/fairway/test/lab"
	"github.com/fairwaynet/fairway/test/lab/e2e"
)

func TestMain(m *testing.M) {
	lab.Main()
	os.Exit(m.Run())
}

// withoutSCTP is a client that leaves out the containers that serve SCTP, which they cannot on a kernel without the
// module. Their pods would never be Ready.
type withoutSCTP struct{ client.Client }

func (c withoutSCTP) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	return c.Client.Create(ctx, trim(o), options...)
}

func (c withoutSCTP) Update(ctx context.Context, o client.Object, options ...client.UpdateOption) error {
	return c.Client.Update(ctx, trim(o), options...)
}

// trim removes containers that serve SCTP from a StatefulSet.
func trim(o client.Object) client.Object {
	object, ok := o.(*unstructured.Unstructured)
	if !ok || object.GetKind() != "StatefulSet" {
		return o
	}
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, _ := unstructured.NestedSlice(object.Object, path...)
	containers = slices.DeleteFunc(containers, func(c any) bool {
		variables, _, _ := unstructured.NestedSlice(c.(map[string]any), "env")
		return slices.ContainsFunc(variables, func(v any) bool {
			name, _, _ := unstructured.NestedString(v.(map[string]any), "name")
			return strings.HasPrefix(name, "SERVE_SCTP_PORT")
		})
	})
	_ = unstructured.SetNestedSlice(object.Object, containers, path...)
	return object
}

// asksSCTP says whether each part of a test asks servers of SCTP, beside others. What these test of ranges and networks,
// the tests of proxy/policy show with packets of TCP and UDP.
func asksSCTP(test string) bool {
	return slices.ContainsFunc([]string{"SCTP", "Gress", "PortRange", "InlineCIDR"}, func(word string) bool { return strings.Contains(test, word) })
}

// TestClusterNetworkPolicies is the conformance of the project that defines ClusterNetworkPolicy, but for what asks
// servers of SCTP, and rules for nodes, which are not supported (docs/policies.md). `make conformance-policy` runs it.
func TestClusterNetworkPolicies(t *testing.T) {
	images, err := e2e.Images(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := lab.Start(t, lab.Options{Fairway: lab.Network, DNS: true, Images: images})
	clusterpolicy.Define(t, l, clusterpolicy.Experimental)
	for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Second) { // agents look every half a minute
		said := l.Kubectl(t, "", "-n", "kube-system", "logs", "-l", "app.kubernetes.io/component=node", "--tail=-1")
		if strings.Count(said, "the cluster has ClusterNetworkPolicies") == len(strings.Fields(l.Kubectl(t, "", "get", "nodes", "-o", "name"))) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agents do not see the definition")
		}
	}
	direct, err := client.New(l.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := policyv1.Install(direct.Scheme()); err != nil {
		t.Fatal(err)
	}
	set, err := kubernetes.NewForConfig(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	features := suite.StandardFeatures.Clone().Insert(suite.SupportClusterNetworkPolicyNamedPorts)
	var skipped []string
	for _, c := range tests.ConformanceTests {
		if asksSCTP(c.ShortName) {
			skipped = append(skipped, c.ShortName)
		}
	}
	s := suite.New(suite.Options{Client: withoutSCTP{direct}, ClientSet: set, KubeConfig: *l.Config, SupportedFeatures: features, SkipTests: skipped})
	s.Setup(t)
	s.Run(t, tests.ConformanceTests)
}
