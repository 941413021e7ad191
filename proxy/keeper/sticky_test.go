package keeper_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/service"
)

// clients are askers with addresses of their own, which the outside client has.
func (w *world) clients(t *testing.T, n int, to ...string) []*asker {
	t.Helper()
	var all []*asker
	for i := range n {
		for _, to := range to {
			source := fmt.Sprintf("198.51.100.%d", 100+i)
			if strings.HasPrefix(to, "[") {
				source = fmt.Sprintf("2001:db8:1::%x", 0x100+i)
				w.client.Give(t, "uplink", source+"/64")
			} else {
				w.client.Give(t, "uplink", source+"/24")
			}
			all = append(all, &asker{from: w.client, source: source, to: to})
		}
	}
	return all
}

func all(t *testing.T, askers []*asker) (answers []string) {
	t.Helper()
	for _, a := range askers {
		answers = append(answers, a.answers(t))
	}
	return answers
}

func allSame(texts []string) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(texts)))) == 1
}

const stickyClients = 8

// With session affinity a client stays with its endpoint, until that leaves the usable ones:
// then its next connection goes elsewhere, and stays there. All others stay. A restart of the
// agent changes nothing.
func testAffinity(t *testing.T, w *world) {
	with := func(pods ...int) *service.Service { return made(t, 1, pods, sticky(3600)) }
	w.write(t, with(0, 1, 3))
	clients := w.clients(t, stickyClients, "10.96.1.1:80", "[fd00:96::1:1]:80")
	first := all(t, clients)
	if again := all(t, clients); !slices.Equal(again, first) {
		t.Fatalf("first %v answer, then %v", first, again)
	}
	w.stop()
	w.keep(t, nft.Options{})
	w.keeper.Publish(nameOf(1), with(0, 1, 3))
	w.keeper.Complete()
	w.done(t)
	if again := all(t, clients); !slices.Equal(again, first) {
		t.Errorf("before a restart %v answer, then %v", first, again)
	}
	w.write(t, with(1, 3))
	without := all(t, clients)
	moved := 0
	for i := range clients {
		if strings.Contains(first[i], pod(0, strings.HasPrefix(clients[i].to, "["))) {
			moved++
			if without[i] == first[i] {
				t.Errorf("%s answers, which has left", without[i])
			}
		} else if without[i] != first[i] {
			t.Errorf("first %s answers, then %s, though both are there", first[i], without[i])
		}
	}
	if moved == 0 {
		t.Error("nobody was with the endpoint that left")
	}
	if again := all(t, clients); !slices.Equal(again, without) {
		t.Errorf("after a move %v answer, then %v", without, again)
	}
	w.write(t, with(0, 1, 3))
	if again := all(t, clients); !slices.Equal(again, without) {
		t.Errorf("the endpoint is back: first %v answer, then %v", without, again)
	}
}

// A client is remembered for each address and port of a Service that it calls, so that its
// endpoints there may differ.
func testAffinityIsOfAPort(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{0, 1, 3}, nodePort, sticky(3600), func(s *corev1.Service) {
		s.Spec.Ports[0].Name = "a"
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "b", Port: 81, Protocol: corev1.ProtocolTCP})
	}))
	fronts := []string{"10.96.1.1:80", "10.96.1.1:81", "198.51.100.1:30080"}
	clients := w.clients(t, stickyClients+4, fronts...)
	answers := all(t, clients)
	if again := all(t, clients); !slices.Equal(again, answers) {
		t.Errorf("first %v answer, then %v", answers, again)
	}
	differ := 0
	for i := 0; i < len(answers); i += len(fronts) {
		var pods []string
		for _, a := range answers[i : i+len(fronts)] {
			pods = append(pods, netip.MustParseAddrPort(a).Addr().String())
		}
		if !allSame(pods) {
			differ++
		}
	}
	if differ == 0 { // one in nine to the power of twelve
		t.Error("every client has one endpoint at all ports")
	}
}

// A client that does not come back in time is forgotten.
func testAffinityEnds(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{0, 1, 3}, sticky(1)))
	clients := w.clients(t, stickyClients, "10.96.1.1:80")
	first := all(t, clients)
	eventually(t, "the kernel forgets the clients", func() bool {
		return !strings.Contains(listed(t, "ip", "clients"), clients[0].source)
	})
	eventually(t, "some client gets another endpoint", func() bool {
		if slices.Equal(all(t, clients), first) {
			time.Sleep(time.Second) //nolint:forbidigo // idle, for the timeout
			return false
		}
		return true
	})
}

// listed is what nft says of a set or map of a table of ours.
func listed(t *testing.T, family, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "list", "map", family, "fairway-services", name).CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

// A node that remembers as many clients as it can serves the others as well.
func testAffinityOfTooMany(t *testing.T, w *world) {
	w.stop()
	wipe(t)
	engine, err := nft.New(t.Context(), nft.Options{})
	must(t, err)
	defer func() { must(t, engine.Close()) }()
	for _, table := range service.Tables() {
		for i := range table.Sets {
			if table.Sets[i].Name == "clients" {
				table.Sets[i].Size = 3
			}
		}
		must(t, engine.Declare(table))
	}
	for f, part := range made(t, 1, []int{0, 1, 3}, sticky(3600)).Parts() {
		must(t, engine.Submit(service.Key(f), "shop/s1", part))
	}
	result, err := engine.Commit(t.Context())
	must(t, err)
	if len(result.Refused) > 0 {
		t.Fatal(result.Refused)
	}
	clients := w.clients(t, stickyClients, "10.96.1.1:80")
	all(t, clients)
	first, again := all(t, clients[:3]), all(t, clients[:3])
	if !slices.Equal(first, again) {
		t.Errorf("of those that are remembered first %v answer, then %v", first, again)
	}
	if got := strings.Count(listed(t, "ip", "clients"), "expires"); got != 3 {
		t.Errorf("%d clients are remembered", got)
	}
	if _, err := engine.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
