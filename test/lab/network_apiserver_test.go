//go:build lab && network

package lab

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/cni/ipam"
)

// manifests is the folder from which kubelets run static pods.
const manifests = "/etc/kubernetes/manifests"

// static is a pod that a kubelet runs without an API server, with a host port.
const static = `
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: echo
      image: ` + EchoImage + `
      imagePullPolicy: Never
      ports: [{containerPort: 8080, hostPort: 8088}]
`

// away is how long the API server is away, longer than Kubernetes takes to miss a node.
const away = 40 * time.Second

// testWithoutAPIServer starts static pods on two nodes while the API server is away. They have
// addresses, host ports, and ways to other pods. When it is back, nothing has restarted.
func testWithoutAPIServer(t *testing.T, l *Lab) {
	before := l.containers(t)
	own := l.podIPs(t, "three")
	began := time.Now()
	l.stopAPIServer(t)
	for _, node := range []string{"n1", "n2"} {
		l.place(t, node, manifests+"/static.yaml", static)
	}
	one, two := l.awaitLease(t, "n1", "static-n1"), l.awaitLease(t, "n2", "static-n2")
	for family := range 2 {
		l.asksWithout(t, "n1", one, net.JoinHostPort(two.Addresses[family].String(), "8080"), "static-n2")
		l.asksWithout(t, "n2", two, net.JoinHostPort(one.Addresses[family].String(), "8080"), "static-n1")
		l.asksWithout(t, "n1", one, net.JoinHostPort(own[family], "8080"), "three")
		l.asksWithout(t, "n2", two, net.JoinHostPort(own[family], "8080"), "three")
	}
	for address, want := range map[string]string{"172.30.0.11": "static-n1", "fd00:30::b": "static-n1", "172.30.1.12": "static-n2", "fd00:30:0:1::c": "static-n2"} {
		said := l.Machine(clientName).Exec(t, l.path("echo"), "get", "http://"+net.JoinHostPort(address, "8088"))
		if server, _ := parseAnswer(t, said); server != want {
			t.Errorf("at the host port of %s answers %s, want %s", address, server, want)
		}
	}
	t.Logf("static pods run, and all of it was asked, %.1f s after the API server went away", time.Since(began).Seconds())
	if rest := away - time.Since(began); rest > 0 {
		<-time.After(rest) // kubelets, controllers and agents notice
	}

	l.startAPIServer(t)
	l.waitFor(t, "--for=condition=Ready", "node", "--all")
	l.eventually(t, "the API server knows the static pods", func() bool {
		_, err := l.TryKubectl(t.Context(), "", "wait", "--timeout=1s", "--for=condition=Ready", "pod", "static-n1", "static-n2")
		return err == nil
	})
	for node, lease := range map[string]ipam.Lease{"n1": one, "n2": two} {
		ips := l.podIPs(t, "static-"+node)
		if !slices.Equal(ips, []string{lease.Addresses[0].String(), lease.Addresses[1].String()}) {
			t.Errorf("the pod on %s has %v, and had %v", node, ips, lease.Addresses)
		}
		if now := l.awaitLease(t, node, "static-"+node); now.Container != lease.Container {
			t.Errorf("the pod on %s has another sandbox", node)
		}
	}
	after := slices.DeleteFunc(l.containers(t), func(line string) bool { return strings.HasPrefix(line, "static-") })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("containers before and after (name, restarts, identity, Ready):\n%s", diff)
	}
	for _, node := range []string{"n1", "n2"} {
		l.Machine(node).Exec(t, "rm", manifests+"/static.yaml")
	}
	l.eventually(t, "the static pods are gone", func() bool {
		return !strings.Contains(l.Kubectl(t, "", "get", "pods", "-o", "name"), "static")
	})
}

// containers are all containers of the cluster: pod, restarts, identity, whether it is ready.
func (l *Lab) containers(t *testing.T) []string {
	t.Helper()
	said := l.Kubectl(t, "", "get", "pods", "-A", "-o",
		`jsonpath={range .items[*]}{.metadata.name}{range .status.containerStatuses[*]} {.restartCount} {.containerID} {.ready}{end}{"\n"}{end}`)
	lines := strings.Split(strings.TrimSpace(said), "\n")
	slices.Sort(lines)
	return lines
}

// stopAPIServer kills the API server and keeps it from starting.
func (l *Lab) stopAPIServer(t *testing.T) {
	t.Helper()
	// The mount is in the machine's own namespace and ends with it.
	l.Machine(controlName).Exec(t, "sh", "-ec", `mount --bind /bin/false "$(command -v kube-apiserver)"; pkill -KILL -x kube-apiserver`)
	if _, err := l.TryKubectl(t.Context(), "", "get", "--raw", "/readyz"); err == nil {
		t.Fatal("the API server answers")
	}
}

func (l *Lab) startAPIServer(t *testing.T) {
	t.Helper()
	if _, err := l.TryKubectl(t.Context(), "", "get", "--raw", "/readyz"); err == nil {
		t.Error("the API server has answered all the time")
	}
	l.Machine(controlName).Exec(t, "sh", "-ec", `umount "$(command -v kube-apiserver)"`)
	l.eventually(t, "the API server answers", func() bool {
		_, err := l.TryKubectl(t.Context(), "", "get", "--raw", "/readyz")
		return err == nil
	})
}

// place writes a file of a machine, whole.
func (l *Lab) place(t *testing.T, name, path, content string) {
	t.Helper()
	command, err := l.Machine(name).Command(t.Context(), "sh", "-ec", `mkdir -p "${1%/*}"; cat > "${1%/*}/.new"; mv "${1%/*}/.new" "$1"`, "sh", path)
	if err != nil {
		t.Fatal(err)
	}
	command.Stdin = strings.NewReader(content)
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("write %s on %s: %v: %s", path, name, err, said)
	}
}

// awaitLease waits until a pod answers at the addresses of its lease.
func (l *Lab) awaitLease(t *testing.T, node, pod string) ipam.Lease {
	t.Helper()
	var found ipam.Lease
	l.eventually(t, pod+" answers its node", func() bool {
		leases := l.leases(t, node)
		at := slices.IndexFunc(leases, func(lease ipam.Lease) bool { return lease.Pod.Name == pod })
		if at < 0 || len(leases[at].Addresses) != 2 {
			return false
		}
		found = leases[at]
		_, err := l.Machine(node).TryExec(t.Context(), l.path("echo"), "get", "http://"+net.JoinHostPort(found.Addresses[0].String(), "8080"))
		return err == nil
	})
	return found
}

// asksWithout asks from the network of a pod, without an API server.
func (l *Lab) asksWithout(t *testing.T, node string, from ipam.Lease, to, want string) {
	t.Helper()
	said, err := l.Machine(node).TryExec(t.Context(), "nsenter", "--net="+from.Namespace.Path, l.path("echo"), "get", "http://"+to)
	if err != nil {
		t.Errorf("from %s to %s: %v", from.Pod, to, err)
		return
	}
	server, client := parseAnswer(t, said)
	if server != want || !slices.ContainsFunc(from.Addresses, func(a netip.Addr) bool { return a.String() == client }) {
		t.Errorf("from %s to %s: %s answered and saw %s, want %s, and one of %v", from.Pod, to, server, client, want, from.Addresses)
	}
}
