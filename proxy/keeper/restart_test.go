package keeper_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
)

// echoPort is where pods echo what they hear.
const echoPort = 8280

// echo makes a pod echo, and returns its connections.
func (w *world) echo(t *testing.T, i int) chan net.Conn {
	t.Helper()
	accepted := make(chan net.Conn, 16)
	w.pods[i].Serve(t, fmt.Sprint(":", echoPort), func(c net.Conn) {
		accepted <- c
		buffer := make([]byte, 64)
		for {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			_, _ = c.Write(buffer[:n]) // a client that is gone misses nothing
		}
	})
	return accepted
}

// at gives all endpoints of a Service another port.
func at(s *service.Service, port uint16) *service.Service {
	for i := range s.Ports {
		p := &s.Ports[i]
		p.Serving = nil
		for k, e := range p.All {
			p.All[k].AddrPort = netip.AddrPortFrom(e.Addr(), port)
			p.Serving = append(p.Serving, p.All[k].AddrPort)
		}
	}
	return s
}

// says sends a word through an open connection and waits for its echo.
func says(t *testing.T, c net.Conn, word string) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write([]byte(word))
	must(t, err)
	buffer := make([]byte, 64)
	n, err := c.Read(buffer)
	must(t, err)
	if string(buffer[:n]) != word {
		t.Errorf("%q came back, not %q", buffer[:n], word)
	}
}

// A restart of the agent, with nothing changed meanwhile, writes nothing and cuts no
// connection.
func testRestart(t *testing.T, w *world) {
	w.echo(t, 1)
	services := []*service.Service{
		made(t, 1, []int{0, 1}, nodePort), made(t, 2, []int{0}, udp), made(t, 3, []int{1}, sticky(60), externalLocal, balancer("203.0.113.1")),
		at(made(t, 9, []int{1}), echoPort),
	}
	w.write(t, services...)
	flow := &asker{from: w.pods[2], to: "10.96.1.2:80"}
	flow.flow(t)
	answered := func() bool { return flow.next(t) != "" }
	eventually(t, "the flow is answered", answered)
	var c net.Conn
	var err error
	w.pods[0].Do(func() { c, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", "10.96.1.9:80") })
	must(t, err)
	defer c.Close()
	w.stop()
	says(t, c, "nobody is there")
	eventually(t, "the flow is answered while nobody is there", answered)
	w.keep(t, nft.Options{})
	for _, s := range services {
		w.keeper.Publish(s.Name, s)
	}
	w.keeper.Complete()
	if r := w.done(t); r.Messages != 0 {
		t.Errorf("%d changes are written", r.Messages)
	}
	says(t, c, "restarted")
	eventually(t, "the flow is answered after the restart", answered)
}

// Nothing is removed before everything was told: not of a Service that the agent has not
// seen yet, and not while it sees no endpoints.
func testRestartWithHalfTheState(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{0}), made(t, 2, []int{1}))
	w.stop()
	w.keep(t, nft.Options{})
	w.keeper.Publish(nameOf(1), made(t, 1, nil)) // the slices come later
	for _, to := range []string{"10.96.1.1:80", "10.96.1.2:80", "[fd00:96::1:2]:80"} {
		if got := ask(t, w.pods[2], "tcp", to, patience); got.endpoint == "" {
			t.Errorf("%s: %+v", to, got)
		}
	}
	select {
	case r := <-w.committed:
		t.Errorf("it writes: %+v", r)
	default:
	}
	w.keeper.Publish(nameOf(1), made(t, 1, []int{0}))
	w.keeper.Complete()
	w.done(t)
	if got := ask(t, w.pods[2], "tcp", "10.96.1.1:80", patience); got.endpoint == "" {
		t.Errorf("a Service that was told: %+v", got)
	}
	if got := ask(t, w.pods[2], "tcp", "10.96.1.2:80", silence); got.silence != dropped {
		t.Errorf("a Service that nobody has told: %+v", got)
	}
}

// A flush of all tables by somebody else, where the kernel lets them, is mended.
func testFlush(t *testing.T, w *world) {
	w.stop()
	wipe(t)
	w.begin(t, nft.Options{WithoutOwner: true})
	w.write(t, made(t, 1, []int{0}, sticky(60)))
	before := ask(t, w.pods[2], "tcp", "10.96.1.1:80", patience)
	if out, err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	// A client that connects meanwhile is not led, and the kernel knows the connection so.
	begun := map[string]chan error{}
	for _, to := range []string{"10.96.1.1:80", "[fd00:96::1:1]:80"} {
		connected := make(chan error, 1)
		begun[to] = connected
		go w.pods[2].Do(func() {
			c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", to)
			if err == nil {
				err = c.Close()
			}
			connected <- err
		})
		eventually(t, "the kernel knows the connection to "+to, func() bool { return w.known(t, to) })
	}
	changes, err := w.engine.Check(t.Context())
	w.keeper.Mended()
	must(t, err)
	if len(changes) != 2 || !strings.Contains(changes[0].What, "missing") {
		t.Errorf("changes %v", changes)
	}
	if after := ask(t, w.pods[2], "tcp", "10.96.1.1:80", patience); after != before || after.endpoint == "" {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if changes, err = w.engine.Check(t.Context()); err != nil || len(changes) > 0 {
		t.Errorf("again: changes %v, %v", changes, err)
	}
	for to, connected := range begun {
		if err := <-connected; err != nil {
			t.Errorf("a connection that began before the tables were back: %s: %v", to, err)
		}
	}
}

// known says whether the kernel knows a connection to an address.
func (w *world) known(t *testing.T, to string) (known bool) {
	t.Helper()
	table, err := conntrack.Open(conntrack.Options{})
	must(t, err)
	defer table.Close()
	must(t, table.List(t.Context(), func(m conntrack.Connection) {
		known = known || netip.AddrPortFrom(m.Original.Destination, m.Original.DestinationPort).String() == to
	}))
	return known
}

// A Service that cannot be written costs no other, and stays as it was.
func testRefused(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{0}))
	bad := made(t, 1, []int{1})
	bad.Ports[0].IPv6 = true // a cluster IP of four bytes in the table of IPv6
	w.keeper.Publish(nameOf(1), bad)
	w.keeper.Publish(nameOf(2), made(t, 2, []int{1}))
	refused, written := false, false
	for !refused || !written {
		r := w.done(t)
		_, now := r.Services[nameOf(2)]
		refused, written = refused || r.Refused[nameOf(1)] != nil, written || now
	}
	if got := ask(t, w.pods[2], "tcp", "10.96.1.2:80", patience); got.endpoint != net.JoinHostPort(pod(1, false), "8080") {
		t.Errorf("another Service: %+v", got)
	}
	w.write(t, made(t, 1, []int{1}))
	if got := ask(t, w.pods[2], "tcp", "10.96.1.1:80", patience); got.endpoint != net.JoinHostPort(pod(1, false), "8080") {
		t.Errorf("the Service, when it can be written again: %+v", got)
	}
}

// Changes of other Services, as many as the kernel takes, cost no connection.
func testChanges(t *testing.T, w *world) {
	const changes, others = 1000, 20
	w.write(t, made(t, 1, []int{0, 1, 3}))
	var reports, written int
	var draining sync.WaitGroup
	stop := make(chan struct{})
	draining.Go(func() {
		for {
			select {
			case r := <-w.committed:
				reports, written = reports+1, written+r.Messages
				if r.Err != nil || len(r.Refused) > 0 {
					t.Errorf("%v %v", r.Err, r.Refused)
				}
			case <-stop:
				return
			}
		}
	})
	var variants []*service.Service
	for _, pods := range [][]int{{0, 1}, {1, 3, 4}, nil} {
		for i := range others {
			variants = append(variants, made(t, 100+i, pods))
		}
	}
	began, connections := time.Now(), 0
	changing := make(chan struct{})
	go func() {
		defer close(changing)
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for i := range changes {
			<-ticks.C
			s := variants[i*7%len(variants)]
			w.keeper.Publish(s.Name, s)
		}
	}()
	for ended := false; !ended; connections++ {
		if got := ask(t, w.pods[2], "tcp", []string{"10.96.1.1:80", "[fd00:96::1:1]:80"}[connections%2], patience); got.endpoint == "" {
			t.Fatalf("connection %d: %+v", connections, got)
		}
		select {
		case <-changing:
			ended = true
		default:
		}
	}
	close(stop)
	draining.Wait()
	t.Logf("%d changes of others in %s: %d commits of %d messages, %d connections, none failed",
		changes, time.Since(began).Round(time.Millisecond), reports, written, connections)
}

// The time of a change of endpoints is told once, when the kernel has the change, and not of
// changes that were there before the agent.
func testTriggered(t *testing.T, w *world) {
	now := time.Now()
	for _, step := range []struct {
		what      string
		triggered time.Time
		told      bool
	}{
		{"an endpoint of before the start", now.Add(-time.Hour), false},
		{"one that comes", now, true},
		{"a change of something else", now, false},
		{"the next", now.Add(time.Second), true},
		{"the last slice goes", now, false},
		{"nobody says when", time.Time{}, false},
	} {
		s := made(t, 1, []int{0})
		s.Triggered = step.triggered
		told := w.write(t, s).Triggered
		if is := len(told) == 1 && told[0].Equal(step.triggered); is != step.told || len(told) > 1 {
			t.Errorf("%s at %s: told %v", step.what, step.triggered, told)
		}
	}
}
