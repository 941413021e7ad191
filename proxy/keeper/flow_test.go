package keeper_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
)

// change changes a Service.
type change func(*corev1.Service)

func udp(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }

func nodePort(s *corev1.Service) {
	s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080
}

func balancer(addresses ...string) change {
	return func(s *corev1.Service) {
		for _, a := range addresses {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
	}
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// sticky remembers clients for so many seconds.
func sticky(seconds int32) change {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

// made is a Service of both families and of a number, 10.96.1.NUMBER port 80, with endpoints
// at port 8080 of pods by their number.
func made(t testing.TB, number int, pods []int, changes ...change) *service.Service {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("s", number)}}
	s.Spec.ClusterIPs = []string{fmt.Sprintf("10.96.1.%d", number), fmt.Sprintf("fd00:96::1:%d", number)}
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	for _, change := range changes {
		change(s)
	}
	var slices []*discoveryv1.EndpointSlice
	for _, ipv6 := range []bool{false, true} {
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		if ipv6 {
			slice.AddressType = discoveryv1.AddressTypeIPv6
		}
		for i := range s.Spec.Ports {
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &s.Spec.Ports[i].Name, Protocol: &s.Spec.Ports[i].Protocol, Port: pointer(int32(endpointPorts[i]))})
		}
		for _, i := range pods {
			node := "n1"
			if i >= podsOfNode {
				node = "n2"
			}
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{pod(i, ipv6)}, NodeName: &node})
		}
		slices = append(slices, slice)
	}
	built, problems := service.Build(s, slices, own)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return built
}

func nameOf(number int) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("s", number)}
}

// asker asks the same front again and again from one source.
type asker struct {
	from   *netns.Namespace
	source string // "" is any
	to     string
	socket *net.UDPConn // of a flow
}

// answers returns which endpoint answers a new connection.
func (a *asker) answers(t testing.TB) string {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if a.source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(a.source)}
	}
	var c net.Conn
	var err error
	a.from.Do(func() { c, err = dialer.DialContext(t.Context(), "tcp", a.to) })
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	said := make([]byte, 256)
	n, err := c.Read(said)
	must(t, err)
	endpoint, _, _ := strings.Cut(string(said[:n]), " ")
	return endpoint
}

// flow opens the socket from which all datagrams are sent.
func (a *asker) flow(t testing.TB) {
	t.Helper()
	var err error
	a.from.Do(func() {
		var c net.Conn
		if c, err = (&net.Dialer{}).DialContext(t.Context(), "udp", a.to); err == nil {
			a.socket = c.(*net.UDPConn)
		}
	})
	must(t, err)
	t.Cleanup(func() { _ = a.socket.Close() })
}

// next sends a datagram of the flow, and returns which endpoint answers: "" for nobody,
// because the client was refused or an answer was lost.
func (a *asker) next(t testing.TB) string {
	t.Helper()
	if _, err := a.socket.Write([]byte("x")); err != nil {
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPERM) {
			return ""
		}
		t.Fatal(err)
	}
	must(t, a.socket.SetReadDeadline(time.Now().Add(time.Second)))
	said := make([]byte, 256)
	n, err := a.socket.Read(said)
	if err != nil {
		return ""
	}
	endpoint, _, _ := strings.Cut(string(said[:n]), " ")
	return endpoint
}

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(3 * patience)
	for range time.Tick(20 * time.Millisecond) {
		if holds() {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", 3*patience, what)
		default:
		}
	}
}

// countPort is where a pod counts what arrives, and answers nothing.
const countPort = 8180

// counter counts the datagrams that arrive at a port of a pod, by their text.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
}

func (w *world) count(t testing.TB, i, port int) *counter {
	t.Helper()
	c := &counter{seen: map[string]int{}}
	var socket net.PacketConn
	on(t, w.pods[i], func() (err error) {
		socket, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", fmt.Sprint(":", port))
		return err
	})
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			n, _, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.seen[string(buffer[:n])]++
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *counter) of(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[text]
}

// stream sends a hundred datagrams a second from one socket, whatever comes back.
func stream(t testing.TB, from *netns.Namespace, to, text string) {
	t.Helper()
	a := &asker{from: from, to: to}
	a.flow(t)
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range time.Tick(10 * time.Millisecond) {
			if ended.Load() {
				return
			}
			_, _ = a.socket.Write([]byte(text)) // it may be refused
		}
	}()
	t.Cleanup(func() { ended.Store(true); <-done })
}

// A flow of datagrams that nobody answers does not outlive what its client called: not the
// Service, its port, its address, its node port, and not the address of a load balancer.
// The next pod with that address gets nothing of it.
func testOneWayFlows(t *testing.T, w *world) {
	c := w.count(t, 0, countPort)
	counted := func(number int, changes ...change) *service.Service {
		return at(made(t, number, []int{0}, append(changes, udp)...), countPort)
	}
	number := func(n int32) change { return func(s *corev1.Service) { s.Spec.Ports[0].Port = n } }
	moved := func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.1.200", "fd00:96::1:200"} }
	for _, f := range []struct {
		text          string
		from          *netns.Namespace
		to            string
		before, after *service.Service
	}{
		{"Service", w.pods[2], "10.96.1.1:80", counted(1), nil},
		{"Service, IPv6", w.pods[2], "[fd00:96::1:1]:80", counted(1), nil},
		{"Service, from the node", nil, "10.96.1.1:80", counted(1), nil},
		{"port", w.pods[2], "10.96.1.2:80", counted(2), counted(2, number(81))},
		{"cluster IP", w.pods[2], "10.96.1.3:80", counted(3), counted(3, moved)},
		{"node port", w.client, "198.51.100.1:30080", counted(4, nodePort), counted(4)},
		{"node port, IPv6", w.client, "[2001:db8:1::1]:30080", counted(4, nodePort), counted(4)},
		{"load balancer", w.client, "203.0.113.5:80", counted(5, balancer("203.0.113.5")), counted(5)},
		{"endpoint", w.pods[2], "10.96.1.6:80", counted(6), made(t, 6, nil, udp)},
	} {
		w.write(t, f.before)
		stream(t, f.from, f.to, f.text)
		eventually(t, f.text+": the flow arrives", func() bool { return c.of(f.text) > 2 })
		if f.text == "Service" || f.text == "Service, IPv6" {
			continue // it goes with the last of them
		}
		began := time.Now()
		if f.after == nil {
			w.remove(t, f.before.Name)
		} else {
			w.write(t, f.after)
		}
		last := c.of(f.text)
		eventually(t, f.text+": the flow ends", func() bool {
			if now := c.of(f.text); now != last {
				last, began = now, time.Now()
			}
			return time.Since(began) > silence
		})
	}
	for _, text := range []string{"Service", "Service, IPv6"} {
		last := c.of(text)
		time.Sleep(silence) //nolint:forbidigo // that nothing comes takes time
		if c.of(text) != last {
			t.Errorf("%s: the flow goes on", text)
		}
	}
}

// A flow leaves an endpoint that goes. All others stay where they are. With the last endpoint
// they are refused, and they come back with the next.
func testFlowsFollowTheEndpoints(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{0, 1, 3}, udp, nodePort))
	var flows []*asker
	at := map[*asker]string{}
	for i := range 24 {
		to := []string{"10.96.1.1:80", "[fd00:96::1:1]:80", "198.51.100.1:30080"}[i%3]
		from := []*netns.Namespace{w.pods[2], w.client, nil}[i/3%3]
		a := &asker{from: from, to: to}
		a.flow(t)
		flows = append(flows, a)
		eventually(t, to+" answers", func() bool { at[a] = a.next(t); return at[a] != "" })
	}
	w.write(t, made(t, 1, []int{1, 3}, udp, nodePort))
	gone := []string{net.JoinHostPort(pod(0, false), "8080"), net.JoinHostPort(pod(0, true), "8080")}
	moved := 0
	for _, a := range flows {
		now := ""
		eventually(t, a.to+" answers", func() bool { now = a.next(t); return now != "" })
		was := slices.Contains(gone, at[a])
		if was {
			moved++
		}
		if slices.Contains(gone, now) || !was && now != at[a] {
			t.Errorf("%s: first %s answers, then %s", a.to, at[a], now)
		}
	}
	if moved == 0 {
		t.Error("no flow was with the endpoint that went")
	}
	w.write(t, made(t, 1, nil, udp, nodePort))
	for _, a := range flows[:6] {
		if now := a.next(t); now != "" {
			t.Errorf("%s: %s answers", a.to, now)
		}
	}
	w.write(t, made(t, 1, []int{0}, udp, nodePort))
	for _, a := range flows[:6] {
		eventually(t, a.to+" answers again", func() bool { return slices.Contains(gone, a.next(t)) })
	}
}
