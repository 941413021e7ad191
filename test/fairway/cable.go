package fairway

import (
	"net/url"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/test/cable"
)

// Cable makes a separate network path from a replica to the API server, which a
// test can cut. It also returns the path of a kubeconfig that uses it, with the
// controller's rights. The cable ends with the test.
func (r *Installation) Cable(t testing.TB) (way *cable.Cable, kubeconfig string) {
	t.Helper()
	config := rest.CopyConfig(r.Cluster.ServiceAccount(r.home, r.name.Controller()))
	to, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	way = cable.Lay(t, to.Host)
	config.Host = "https://" + way.At.String()
	if kubeconfig, err = r.Cluster.WriteKubeconfig(config); err != nil {
		t.Fatal(err)
	}
	return way, kubeconfig
}
