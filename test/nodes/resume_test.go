package nodes

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// An agent that starts while the API server is away goes on with the addresses that it had: not
// with those that another node answers for, and only until one does.
func testAddressesWithoutAPIServer(t *testing.T, w *world) {
	x := newAddressed(t, w, 51, 3)
	var pods []*pod
	for i, m := range x.machines {
		pods = append(pods, m.pod(fmt.Sprint("r", i), "").serve(t))
	}
	_, all := x.balanced(corev1.ServiceExternalTrafficPolicyCluster, pods...)
	defer x.oneAtATime()
	address := all[0]
	for _, a := range all {
		w.opens(t, a)
		x.remembers(x.holder(a), a)
	}

	t.Run("for all nodes", func(t *testing.T) {
		holders := []*machine{x.holder(address), x.holder(all[1])}
		for _, m := range x.machines {
			m.gate.close()
		}
		for _, m := range slices.Compact(slices.Clone(holders)) {
			m.process.Kill()
			m.run()
		}
		started := time.Now()
		for i, a := range all {
			// Clients that know the MAC would not notice.
			eventually(t, fmt.Sprintf("%s is answered for", a), patience, func() error {
				mac, err := resolve(a)
				if err == nil && mac != x.macs[holders[i].name] {
					err = fmt.Errorf("it is at %s", mac)
				}
				return err
			})
			w.opens(t, a)
			t.Logf("%s is answered for %s after the start", a, time.Since(started).Round(10*time.Millisecond))
		}
		late := holders[0].pod("late", hostPort).serve(t) // the agent does the rest of its work, too
		asks(t, own, netip.AddrPortFrom(holders[0].addresses[0], 8443).String(), "192.0.2.254")
		late.remove()
		loads := []*outage{x.ask(all[0]), x.ask(all[1])}
		time.Sleep(12 * time.Second) //nolint:forbidigo // the link is asked twice more
		began := time.Now()
		for _, m := range x.machines {
			m.gate.listen(m)
		}
		time.Sleep(6 * time.Second) //nolint:forbidigo // one who moves it does so now
		for i, a := range all {
			if now := x.holder(a); now != holders[i] {
				t.Errorf("%s moved from %s", a, holders[i].name)
			}
			if macs := x.lan.since(a, began); slices.ContainsFunc(macs, func(mac string) bool { return mac != x.macs[holders[i].name] }) {
				t.Errorf("%v claim %s", macs, a)
			}
			loads[i].end(t, "nobody has the API server, and the agent starts")
			if len(loads[i].failed) > strays {
				t.Error("connections failed")
			}
		}
	})
	t.Run("for one node, whose address has moved", func(t *testing.T) {
		from := x.holder(address)
		x.remembers(from, address)
		from.gate.close()
		from.process.Kill()
		now := x.moves(address, from, 10*time.Second)
		time.Sleep(time.Second) //nolint:forbidigo // the new holder answers
		began := time.Now()
		from.run()
		time.Sleep(12 * time.Second) //nolint:forbidigo // in which it asks
		if macs := x.lan.since(address, began); slices.Contains(macs, x.macs[from.name]) {
			t.Errorf("%s claims %s, which %s has", from.name, address, now.name)
		}
		if mac, err := resolve(address); err != nil || mac != x.macs[now.name] {
			t.Errorf("it is at %s, %v, want %s of %s", mac, err, x.macs[now.name], now.name)
		}
		from.gate.listen(from)
		w.opens(t, address)
	})
	t.Run("for all nodes, and then for one", func(t *testing.T) {
		from := x.holder(address)
		x.remembers(from, address)
		for _, m := range x.machines {
			m.gate.close()
		}
		from.process.Kill()
		from.run()
		eventually(t, "it is answered for", patience, func() error {
			_, err := resolve(address)
			return err
		})
		for _, m := range x.machines {
			if m != from {
				m.gate.listen(m)
			}
		}
		now := x.moves(address, from, 20*time.Second)
		time.Sleep(2 * time.Second) //nolint:forbidigo // both may answer for a second
		moved := time.Now()
		for range 5 {
			if mac, err := resolve(address); err != nil || mac != x.macs[now.name] {
				t.Errorf("it is at %s, %v, want %s of %s", mac, err, x.macs[now.name], now.name)
			}
		}
		if macs := x.lan.since(address, moved); slices.Contains(macs, x.macs[from.name]) {
			t.Errorf("%s goes on claiming it", from.name)
		}
		from.gate.listen(from)
		w.opens(t, address)
	})
}

// remembers waits until a machine's agent has written that it answers for an address.
func (x *addressed) remembers(m *machine, a netip.Addr) {
	x.Helper()
	m.eventually(fmt.Sprintf("it remembers %s", a), func() error {
		said, err := os.ReadFile(m.folder("run/addresses.json"))
		if err == nil && !strings.Contains(string(said), strconv.Quote(a.String())) {
			err = fmt.Errorf("it remembers %s", said)
		}
		return err
	})
}
