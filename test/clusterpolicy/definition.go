// Package clusterpolicy gives the clusters of tests the definition of ClusterNetworkPolicies.
package clusterpolicy

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Channel is how finished the fields are that the definition has.
type Channel string

// The channels.
const (
	Standard     Channel = "standard"
	Experimental Channel = "experimental"
)

// Cluster is a cluster of a test.
type Cluster interface {
	Kubectl(t testing.TB, stdin string, args ...string) string
}

// Define gives a cluster the definition, and returns the path of its file.
func Define(t testing.TB, c Cluster, channel Channel) (path string) {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/network-policy-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(strings.TrimSpace(string(folder)), "config/crd", string(channel), "policy.networking.k8s.io_clusternetworkpolicies.yaml")
	c.Kubectl(t, "", "apply", "--server-side", "-f", path)
	c.Kubectl(t, "", "wait", "--for=condition=Established", "--timeout=30s", "crd", "clusternetworkpolicies.policy.networking.k8s.io")
	return path
}
