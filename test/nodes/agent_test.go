package nodes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The agent may die, be away, or be without an API server: pods come and go, and
// connections stay.
func testTheAgentIsAway(t *testing.T, w *world) {
	one, two := w.machine(t, settings{number: 1}), w.machine(t, settings{number: 2})
	a, b := one.pod("a", "").serve(t), two.pod("b", "").serve(t)
	one.eventually("its pods reach the other", func() error { _, err := a.Ask(t, b.at(0, 8080)); return err })
	two.eventually("its pods reach the other", func() error { _, err := b.Ask(t, a.at(1, 8080)); return err })
	b.Serve(t, b.at(0, 7000), echo)
	open := connect(t, a.Namespace, b.at(0, 7000))
	works := func(when string) {
		t.Helper()
		if err := open.works(patience); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if lost := open.lost(t); lost > 0 {
			t.Fatalf("%s: %d segments were lost", when, lost)
		}
	}
	for range 3 {
		one.process.Kill()
		works("the agent is dead")
		p := one.pod("while-away", "").serve(t)
		asks(t, b.Namespace, p.at(0, 8080), b.addresses[0].String())
		p.remove()
		one.run()
		for range 50 {
			works("the agent starts")
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // a line every ten milliseconds
		}
	}

	one.process.Kill()
	if _, err := one.tryPod("wants-port", hostPort); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("without an agent a pod with a host port gets %v", err)
	}
	if left := leases(t, one); len(left) != 1 {
		t.Errorf("leases: %v, want the one of pod a", left)
	}
	// An ADD that waits is answered by the agent that comes.
	added := make(chan error, 1)
	waiting := make(chan *pod, 1)
	go func() { p, err := one.tryPod("waits", hostPort); waiting <- p; added <- err }()
	one.gate.close() // also without an API server
	one.run()
	p := <-waiting
	if err := <-added; err != nil {
		t.Fatalf("a pod that waits for the agent: %v", err)
	}
	p.serve(t)
	asks(t, own, "192.0.2.1:8443", "192.0.2.254")
	works("without an API server")
	q := one.pod("q", "").serve(t)
	asks(t, b.Namespace, q.at(1, 8080), b.addresses[1].String())
	p.remove()
	eventually(t, "the host port of a pod that has gone is closed", patience, func() error {
		if said, err := own.Ask(t, "192.0.2.1:8443"); err == nil {
			return fmt.Errorf("it answers %q", said)
		}
		return nil
	})
	one.gate.listen(one)
	one.eventually("it is ready", func() error {
		said, err := one.command("curl", "-sf", "http://127.0.0.1:9469/readyz").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	})
}

// leases are the names of the files of a machine's leases.
func leases(t *testing.T, m *machine) []string {
	t.Helper()
	all, err := filepath.Glob(m.folder("state/*"))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, path := range all {
		if name := filepath.Base(path); strings.Contains(name, "@") {
			left = append(left, name)
		}
	}
	return left
}

// Nodes come, go, and come back with another range and address; a node without a range says
// so, and one that is full recovers.
func testNodesComeAndGo(t *testing.T, w *world) {
	one := w.machine(t, settings{number: 1, ranges: []string{"10.244.1.0/30"}})
	two := w.machine(t, settings{number: 2})
	a, b := one.pod("a", "").serve(t), two.pod("b", "").serve(t)
	one.eventually("its pods reach the other", func() error { _, err := a.Ask(t, b.at(0, 8080)); return err })

	t.Run("a range that is full", func(t *testing.T) {
		var more []*pod
		for i := range 8 {
			p, err := one.tryPod(fmt.Sprintf("p%d", i), "")
			if err == nil {
				more = append(more, p)
				continue
			}
			if !strings.Contains(err.Error(), "10.244.1.0/30") {
				t.Errorf("a full range: %v", err)
			}
			break
		}
		if len(more) < 1 || len(more) > 2 { // of four addresses one is the overlay's
			t.Errorf("%d more pods got an address", len(more))
		}
		more[0].remove()
		p := one.pod("again", "").serve(t)
		asks(t, b.Namespace, p.at(0, 8080), b.addresses[0].String())
	})

	t.Run("a node goes and comes back with another range", func(t *testing.T) {
		had := two.shell("ip route show proto 102")
		if err := w.client.CoreV1().Nodes().Delete(context.Background(), "n2", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		one.eventually("the route is gone", func() error {
			if routes := one.shell("ip route show proto 102"); strings.Contains(routes, "10.244.2.0/24") {
				return fmt.Errorf("there is %s", routes)
			}
			return nil
		})
		if has := two.shell("ip route show proto 102"); has != had || had == "" {
			t.Errorf("a node whose Node is gone has the routes %q, had %q", has, had)
		}
		two.process.Kill()
		two.shell("nft flush ruleset")
		b.remove()
		two.register([]string{"10.244.77.0/24", "fd00:244:77::/64"})
		two.run()
		two.eventually("a pod gets an address of the new range", func() error {
			p, err := two.tryPod("n", "")
			if err != nil {
				return err
			}
			if !strings.Contains(p.addresses[0].String(), "10.244.77.") {
				p.remove()
				return fmt.Errorf("it got %s", p.addresses)
			}
			b = p.serve(t)
			return nil
		})
		one.eventually("its pods reach the new range", func() error { _, err := a.Ask(t, b.at(0, 8080)); return err })
	})

	t.Run("a node without a range", func(t *testing.T) {
		three := w.machine(t, settings{number: 3, ranges: []string{}, unstarted: true})
		three.run()
		three.told("NoPodRange", "spec.podCIDRs")
		if _, err := os.Stat(three.folder("net.d")); err == nil {
			t.Error("a node on which no pod can start has a network configuration")
		}
		patch := []byte(`{"spec": {"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24"]}}`)
		if _, err := w.client.CoreV1().Nodes().Patch(context.Background(), "n3", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		three.eventually("a pod starts", func() error { _, err := three.tryPod("c", ""); return err })
	})

	t.Run("cleanup", func(t *testing.T) {
		two.process.Kill()
		dir, err := programs()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // twice is as good as once
			if said, err := two.command(filepath.Join(dir, "fairway"), two.agentArgs("--cleanup")...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
		}
		left := two.shell("ip -o link show | grep ' fw' || true; ip route show proto 102; ip -6 route show proto 102; nft list tables")
		for _, name := range []string{"bin", "net.d", "state", "run"} {
			if files, err := os.ReadDir(two.folder(name)); err == nil {
				for _, file := range files {
					left += name + "/" + file.Name() + "\n"
				}
			}
		}
		if strings.TrimSpace(left) != "" {
			t.Errorf("it leaves\n%s", left)
		}
	})
}
