package ranges

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/fairwaynet/fairway/test/cluster"
)

// What safety depends on: an API server keeps a Node's ranges once they are set, compares the
// UID of a patch and the version of a ledger. It does not compare Nodes with one another.
func TestWhatAnAPIServerGuarantees(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	api, err := NewAPI(c.Config, types.NamespacedName{Namespace: "kube-system", Name: "ledger"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	join := func(name string) types.UID {
		t.Helper()
		node, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return node.UID
	}
	give := func(name string, uid types.UID, refused string, words ...string) {
		t.Helper()
		err := api.Give(t.Context(), name, promise(string(uid), words...))
		if refused == "" && err != nil || refused != "" && (err == nil || !strings.Contains(err.Error(), refused)) {
			t.Errorf("give %s to %s: %v, want %q", words, name, err, refused)
		}
	}

	t.Run("ranges", func(t *testing.T) {
		a, b := join("a"), join("b")
		give("a", a, "", "10.0.0.0/24", "fd00::/64")
		give("a", a, "", "10.0.0.0/24", "fd00::/64") // the same again
		give("a", a, "may not change", "10.0.1.0/24", "fd00::/64")
		give("a", a, "may not change", "10.0.0.0/24")
		give("b", a, "uid", "10.0.2.0/24")
		give("b", b, "", "10.0.0.0/24", "fd00::/64") // those of a
		give("gone", a, "not found", "10.0.3.0/24")
		if err := client.CoreV1().Nodes().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		join("a")
		give("a", a, "uid", "10.0.4.0/24")
	})

	t.Run("the ledger", func(t *testing.T) {
		ledger, none, err := api.Read(t.Context())
		if err != nil || none != (Version{}) || len(ledger.Promises) > 0 {
			t.Fatalf("before the first: %v, %v, %v", ledger, none, err)
		}
		write := func(name string, at Version, want error) Version {
			t.Helper()
			next, err := api.Write(t.Context(), Ledger{Promises: map[string]Promise{name: promise(name, "10.0.0.0/24")}}, at)
			if !errors.Is(err, want) {
				t.Errorf("write %s at %v: %v, want %v", name, at, err, want)
			}
			return next
		}
		first := write("a", none, nil)
		write("b", none, errMoved)
		second := write("c", first, nil)
		write("d", first, errMoved)
		ledger, version, err := api.Read(t.Context())
		if err != nil || version != second || ledger.Promises["c"].UID != "c" || len(ledger.Promises) != 1 {
			t.Errorf("it is %v at %v, %v", ledger, version, err)
		}
		if err := client.CoordinationV1().Leases("kube-system").Delete(t.Context(), "ledger", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		write("e", second, errMoved)
	})

	t.Run("all pages", func(t *testing.T) {
		for i := range page + 10 {
			join(fmt.Sprint("many-", i))
		}
		nodes, err := api.Nodes(t.Context())
		if err != nil || len(nodes) != page+12 {
			t.Errorf("%d nodes, %v", len(nodes), err)
		}
	})
}
