package connection_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/inspect/connection"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/golden"
)

// readerOf reads a cluster that holds the manifests.
func readerOf(t *testing.T, manifests string) snapshot.Reader {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Reader{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(golden.Objects(t, scheme, manifests)...).Build()}
}

// answer is what is said of a line: a pod and what it connects to; with "json" behind it, as JSON.
func answer(t *testing.T, reader snapshot.Reader, line string) string {
	t.Helper()
	words := strings.Fields(line)
	namespace, name, _ := strings.Cut(words[0], "/")
	to, err := connection.ParseTarget(words[1])
	if err != nil {
		return err.Error() + "\n"
	}
	x, err := connection.FromCluster(t.Context(), connection.Question{From: types.NamespacedName{Namespace: namespace, Name: name}, To: to}, reader)
	if err != nil {
		return err.Error() + "\n"
	}
	if len(words) < 3 {
		return fmt.Sprintf("%s%s\n", x.Text(), x.End)
	}
	text, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// TestGolden: a case is a sentence, the objects that there are, questions, and the answers.
func TestGolden(t *testing.T) {
	golden.Run(t, "testdata", func(t *testing.T, files []txtar.File) []txtar.File {
		reader := readerOf(t, string(files[0].Data))
		got := files[:2:2]
		for line := range strings.Lines(string(files[1].Data)) {
			got = append(got, txtar.File{Name: strings.TrimSpace(line), Data: []byte(answer(t, reader, line))})
		}
		return got
	})
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1:80":                         "",
		"[fd00::1]:80/UDP":                    "",
		"shop/web-0:443":                      "",
		"web:80":                              "",
		"web.shop.svc.cluster.local.:80/sctp": "",
		"web":                                 `"web" has no port: write HOST:PORT`,
		"web:0":                               `"0" is no port from 1 to 65535`,
		"web:65536":                           `"65536" is no port from 1 to 65535`,
		"web:http":                            `"http" is no port from 1 to 65535`,
		"web:80/icmp":                         `"icmp" is none of the protocols tcp, udp and sctp`,
		"fd00::1:80":                          "write an IPv6 address in brackets: [fd00::1]:80",
		"/web:80":                             `"/web" is not NAMESPACE/POD`,
		"a/b/c:80":                            `"a/b/c" is not NAMESPACE/POD`,
		"www.shop.example:80":                 `"www.shop.example" is no address, no pod (NAMESPACE/POD) and no Service (NAME.NAMESPACE): give one of the addresses of a name outside of the cluster`,
		":80":                                 `"" is no address, no pod (NAMESPACE/POD) and no Service (NAME.NAMESPACE): give one of the addresses of a name outside of the cluster`,
		"[web]:80":                            `"[web]" is no address, no pod (NAMESPACE/POD) and no Service (NAME.NAMESPACE): give one of the addresses of a name outside of the cluster`,
	} {
		_, err := connection.ParseTarget(text)
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// without is a cluster in which its user may not read one kind.
type without struct {
	client.Reader
	list string
}

func (w without) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	if fmt.Sprintf("%T", into) == w.list {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "", errors.New("no"))
	}
	return w.Reader.List(ctx, into, options...)
}

// A user hears which right is missing.
func TestMissingRights(t *testing.T) {
	for list, want := range map[string]string{
		"*v1.PodList":                    "you need the permission to list pods in all namespaces",
		"*v1.NamespaceList":              "you need the permission to list namespaces in all namespaces",
		"*v1.NetworkPolicyList":          "you need the permission to list networkpolicies.networking.k8s.io in all namespaces",
		"*unstructured.UnstructuredList": "you need the permission to list clusternetworkpolicies.policy.networking.k8s.io in all namespaces",
		"*v1.ServiceList":                "you need the permission to list services in all namespaces",
	} {
		reader := readerOf(t, "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: web}\n")
		reader.Reader = without{reader.Reader, list}
		if got := answer(t, reader, "shop/web 10.0.0.1:80"); got != want+"\n" {
			t.Errorf("without %s: %s, want %s", list, got, want)
		}
	}
}
