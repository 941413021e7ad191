package keeper_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/proxy/service"
)

// slowPort is where endpoints answer when the test says so.
const slowPort = 8280

// asked is a datagram that waits for its answer.
type asked struct {
	socket net.PacketConn
	from   net.Addr
}

// listen hands over what arrives at sockets of a pod.
func (w *world) listen(t *testing.T, i int) (sockets map[bool]net.PacketConn, arrived chan asked) {
	t.Helper()
	sockets, arrived = map[bool]net.PacketConn{}, make(chan asked, 64)
	for _, ipv6 := range []bool{false, true} {
		socket := datagrams(t, w.pods[i], net.JoinHostPort(pod(i, ipv6), fmt.Sprint(slowPort)))
		sockets[ipv6] = socket
		go func() {
			buffer := make([]byte, 64)
			for {
				_, from, err := socket.ReadFrom(buffer)
				if err != nil {
					return
				}
				arrived <- asked{socket, from}
			}
		}()
	}
	return sockets, arrived
}

// An endpoint that goes answers what it was asked before, and its answers reach their clients
// although the flow is forgotten: all of those that were on their way. What the client asks next
// goes to another endpoint.
func testAnswersOnTheirWay(t *testing.T, w *world) {
	_, first := w.listen(t, 0)
	_, second := w.listen(t, 1)
	with := func(pods ...int) *service.Service { return at(made(t, 1, pods, udp, nodePort), slowPort) }
	for _, c := range []struct{ name, to string }{
		{"IPv4", "10.96.1.1:80"}, {"IPv6", "[fd00:96::1:1]:80"}, {"a node port", "198.51.100.1:30080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.write(t, with(0))
			a := &asker{from: w.pods[2], to: c.to}
			a.flow(t)
			var waiting []asked
			for range 3 {
				_, err := a.socket.Write([]byte("x"))
				must(t, err)
				waiting = append(waiting, <-first)
			}
			w.write(t, with(1))
			for i, q := range waiting {
				_, err := q.socket.WriteTo(fmt.Append(nil, "answer ", i), q.from)
				must(t, err)
			}
			for i := range waiting {
				said := make([]byte, 64)
				must(t, a.socket.SetReadDeadline(time.Now().Add(patience)))
				n, err := a.socket.Read(said)
				if want := fmt.Sprint("answer ", i); err != nil || string(said[:n]) != want {
					t.Fatalf("%s: got %q, %v", want, said[:n], err)
				}
			}
			_, err := a.socket.Write([]byte("x"))
			must(t, err)
			select {
			case q := <-second:
				_, err := q.socket.WriteTo([]byte("next"), q.from)
				must(t, err)
			case <-first:
				t.Fatal("the next datagram goes to the endpoint that went")
			case <-time.After(patience):
				t.Fatal("the next datagram goes nowhere")
			}
			said := make([]byte, 64)
			must(t, a.socket.SetReadDeadline(time.Now().Add(patience)))
			if n, err := a.socket.Read(said); err != nil || string(said[:n]) != "next" {
				t.Fatalf("the other endpoint's answer: %q, %v", said[:n], err)
			}
		})
	}
	// Nothing is awaited for long.
	if !awaits(t) {
		t.Error("no answers were awaited")
	}
	eventually(t, "no answers are awaited", func() bool { return !awaits(t) })
}

// awaits says whether answers are awaited.
func awaits(t *testing.T) bool {
	t.Helper()
	for _, family := range []string{"ip", "ip6"} {
		for _, name := range []string{"late-addresses", "late-ports"} {
			if strings.Contains(listed(t, family, name), "elements") {
				return true
			}
		}
	}
	return false
}

// Thousands of Services that lose an endpoint at once are one look at the connections, not one
// each.
func testManyFlows(t *testing.T, w *world) {
	const many = 2000
	all := func(pods ...int) (list []*service.Service) {
		for i := range many {
			s := made(t, 1, pods, udp)
			s.Name.Name = fmt.Sprint("many-", i)
			for p := range s.Ports {
				for f := range s.Ports[p].Fronts {
					s.Ports[p].Fronts[f].Port = uint16(1000 + i) //nolint:gosec // a few thousand
				}
			}
			list = append(list, s)
		}
		return list
	}
	w.write(t, all(0)...)
	a := &asker{from: w.pods[2], to: "10.96.1.1:1999"}
	a.flow(t)
	if got := a.next(t); got != net.JoinHostPort(pod(0, false), "8080") {
		t.Fatalf("%q answers", got)
	}
	began := time.Now()
	w.write(t, all(1)...)
	t.Logf("%d Services took %s", many, time.Since(began).Round(time.Millisecond))
	eventually(t, "the flow follows", func() bool { return a.next(t) == net.JoinHostPort(pod(1, false), "8080") })
}
