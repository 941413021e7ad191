//go:build lab && network

package lab

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/binary"
)

// next is another network, which lets go of what pods have had before: a runtime that has none ends no pod.
const next = `{"cniVersion": "1.0.0", "name": "next", "plugins": [{"type": "loopback"}]}`

// TestUninstall is a lab with all of Fairway, which is taken away as the docs say, while pods run, one node is off and
// an agent of another was killed. What is left is what the docs list, and nothing on the nodes. `make e2e` runs it.
func TestUninstall(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 2, Families: DualStack, Fairway: Everything, Shop: true})
	remember(t, l)
	nodes := l.Options.nodeNames()
	if had := l.remains(t, "n1"); len(had) < 10 {
		t.Fatalf("a node with Fairway has %q: this test shows nothing", had)
	}
	l.Machine("n2").Kill(t)
	l.Helm(t, "helm4", "upgrade", "fairway", l.Chart(), "--namespace", "fairway-system", "--reset-then-reuse-values", "--set", "network.cleanup=true")
	l.eventually(t, "the nodes that are on are clean", func() bool {
		said := l.Kubectl(t, "", "-n", "kube-system", "get", "daemonset", "fairway-node", "-o", "jsonpath={.status.updatedNumberScheduled} {.status.numberAvailable}")
		return said == "3 2" || said == "2 2"
	})
	l.Helm(t, "helm4", "uninstall", "fairway", "--namespace", "fairway-system", "--wait", "--timeout", "2m")
	if err := binary.Build(t.Context(), l.path("fairway"), "cmd/fairway", []string{"CGO_ENABLED=0"}); err != nil {
		t.Fatal(err)
	}
	l.Machine("n2").Boot(t)
	l.Machine("n2").Exec(t, l.path("fairway"), "node", "--cleanup")
	for _, node := range nodes {
		left := slices.DeleteFunc(l.remains(t, node), func(line string) bool { // the kubelet's own
			return line == "" || slices.Contains([]string{"filter", "mangle", "nat"}, line[strings.LastIndex(line, " ")+1:])
		})
		if len(left) > 0 {
			t.Errorf("%s has still\n\t%s", node, strings.Join(left, "\n\t"))
		}
		for _, folder := range []string{"/etc/cni/net.d", "/opt/cni/bin", "/var/lib/fairway", "/run/fairway"} {
			if said, err := l.Machine(node).TryExec(t.Context(), "find", folder, "-type", "f", "(", "-name", "*fairway*", "-o", "-path", "*/fairway/*", ")"); err == nil && strings.TrimSpace(said) != "" {
				t.Errorf("%s has still\n%s", node, said)
			}
		}
	}
	left := l.Kubectl(t, "", "get", "clusterroles,clusterrolebindings,ingressclasses,validatingadmissionpolicies,validatingadmissionpolicybindings,validatingwebhookconfigurations,mutatingwebhookconfigurations,priorityclasses", "-o", "name")
	for line := range strings.Lines(left) {
		if strings.Contains(line, "fairway") {
			t.Errorf("the cluster has still %s", strings.TrimSpace(line))
		}
	}
	for _, node := range nodes {
		l.Machine(node).Exec(t, "sh", "-c", "echo '"+next+"' > /etc/cni/net.d/10-next.conflist")
	}
	l.eventually(t, "the pods of the node that was off have ended", func() bool {
		return strings.TrimSpace(l.Kubectl(t, "", "get", "pods", "-A", "-l", "app.kubernetes.io/instance=fairway", "-o", "name")) == ""
	})
	left = l.Kubectl(t, "", "get", "all,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,leases", "-A", "-l", "app.kubernetes.io/instance=fairway", "-o", "name")
	if strings.TrimSpace(left) != "" {
		t.Errorf("the cluster has still\n%s", left)
	}
	remember(t, l)
	l.end(t, before)
}
