package keeper_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
)

// The policy Local is for callers from outside. Pods and the node reach endpoints anywhere:
// pods with their own address, the node with one that the endpoint can answer.
func testLocalWithoutLocalEndpoints(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{3}, nodePort, externalLocal, balancer("203.0.113.1", "2001:db8:f::1")))
	for _, ipv6 := range []bool{false, true} {
		balancer, node := "203.0.113.1:80", net.JoinHostPort(nodeAddress[false], "30080")
		ofNode := []string{"192.0.2.1", "198.51.100.1"}
		if ipv6 {
			balancer, node = "[2001:db8:f::1]:80", net.JoinHostPort(nodeAddress[true], "30080")
			ofNode = []string{"2001:db8:2::1", "2001:db8:1::1"}
		}
		for _, c := range []struct {
			name string
			from *netns.Namespace
			wait time.Duration
			want []string // sources that the endpoint may see; nil: nothing arrives
		}{
			{"a pod", w.pods[0], patience, []string{pod(0, ipv6)}},
			{"the node, and a pod on its network", nil, patience, ofNode},
			{"a client outside", w.client, silence, nil},
		} {
			for _, to := range []string{balancer, node} {
				got := ask(t, c.from, "tcp", to, c.wait)
				switch {
				case c.want == nil && got.silence != dropped:
					t.Errorf("%s to %s: %+v, want silence", c.name, to, got)
				case c.want != nil && !strings.Contains(strings.Join(c.want, " "), got.source) || c.want != nil && got.endpoint == "":
					t.Errorf("%s to %s: %+v, want an answer to one of %v", c.name, to, got, c.want)
				}
			}
		}
	}
}

// A pod that calls its own Service sees the node as client, and another pod sees it.
func testHairpin(t *testing.T, w *world) {
	w.write(t, made(t, 1, []int{0}, nodePort), made(t, 2, []int{0}, udp))
	for _, c := range []struct{ network, to string }{
		{"tcp", "10.96.1.1:80"}, {"tcp", "[fd00:96::1:1]:80"}, {"udp", "10.96.1.2:80"}, {"udp", "[fd00:96::1:2]:80"},
		{"tcp", "198.51.100.1:30080"}, {"tcp", "[2001:db8:1::1]:30080"},
	} {
		ipv6 := strings.HasPrefix(c.to, "[")
		if own := ask(t, w.pods[0], c.network, c.to, patience).source; own == pod(0, ipv6) || own == "" {
			t.Errorf("%s: the pod sees itself as %q", c.to, own)
		}
		if other := ask(t, w.pods[1], c.network, c.to, patience).source; other != pod(1, ipv6) {
			t.Errorf("%s: the pod sees another as %q", c.to, other)
		}
	}
}

// While an endpoint moves from one slice to another, both have it. It is one.
func testTwoSlices(t *testing.T, w *world) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s1"}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.1.1", []string{"10.96.1.1"}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	slice := func(version string, ready bool, pods ...int) *discoveryv1.EndpointSlice {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: version, ResourceVersion: version},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: pointer(int32(8080))}},
		}
		for _, i := range pods {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{pod(i, false)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
			})
		}
		return slice
	}
	for _, c := range []struct {
		name   string
		slices []*discoveryv1.EndpointSlice
		want   int // elements
	}{
		{"in both", []*discoveryv1.EndpointSlice{slice("9", true, 0, 1), slice("10", true, 0)}, 2},
		{"in both, and the newer says that it does not serve", []*discoveryv1.EndpointSlice{slice("9", true, 0, 1), slice("10", false, 0)}, 1},
		{"the newer goes", []*discoveryv1.EndpointSlice{slice("9", true, 0, 1)}, 2},
		{"the older goes", []*discoveryv1.EndpointSlice{slice("10", true, 0)}, 1},
	} {
		built, _ := service.Build(s, c.slices, own)
		w.write(t, built)
		if got := strings.Count(listed(t, "ip", "endpoints"), " : 10.244."); got != c.want {
			t.Errorf("%s: %d elements, want %d\n%s", c.name, got, c.want, listed(t, "ip", "endpoints"))
		}
		if got := ask(t, w.pods[2], "tcp", "10.96.1.1:80", patience); got.endpoint == "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// No Service takes an address of a node, a pod or another Service.
func testReservedAddresses(t *testing.T, w *world) {
	w.write(t, made(t, 2, []int{1}))
	listener, err := net.Listen("tcp", "198.51.100.1:80") // of the node itself
	must(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "node nobody")
			c.Close()
		}
	}()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s1"}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.1.1", []string{"10.96.1.1"}
	s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 8080}}
	s.Spec.ExternalIPs = []string{"198.51.100.1", pod(2, false)}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.96.1.2"}, {IP: "203.0.113.1"}}
	reserving := own
	reserving.Reserved = service.Reserved{
		Nodes: map[netip.Addr]string{netip.MustParseAddr("198.51.100.1"): "n1"},
		Pods:  cluster().Pods, Services: cluster().Services,
	}
	ready := []discoveryv1.Endpoint{{Addresses: []string{pod(0, false)}}}
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: ready}
	for i := range s.Spec.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &s.Spec.Ports[i].Name, Port: pointer(int32(8080))})
	}
	built, problems := service.Build(s, []*discoveryv1.EndpointSlice{slice}, reserving)
	if len(problems) != 3 {
		t.Errorf("problems %v", problems)
	}
	w.write(t, built)
	for to, want := range map[string]string{
		"10.96.1.1:80": pod(0, false) + ":8080", "203.0.113.1:80": pod(0, false) + ":8080",
		"10.96.1.2:80": pod(1, false) + ":8080", "198.51.100.1:80": "node", pod(2, false) + ":8080": pod(2, false) + ":8080",
	} {
		for _, from := range []*netns.Namespace{w.pods[1], w.client, nil} {
			if got := ask(t, from, "tcp", to, patience); got.endpoint != want {
				t.Errorf("%s: %+v, want %s", to, got, want)
			}
		}
	}
}

// An association whose endpoint goes is set up anew with another, from the same port.
func testSCTP(t *testing.T, w *world) {
	sctp := func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP }
	arrived := make(chan int, 1000)
	for i := range 2 {
		var fd int
		on(t, w.pods[i], func() (err error) {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
			return err
		})
		must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
		ended, end := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			buffer := make([]byte, 256)
			for {
				_, _, err := unix.Recvfrom(fd, buffer, 0)
				select {
				case <-end:
					return
				default:
				}
				if err == nil {
					arrived <- i
				}
			}
		}()
		t.Cleanup(func() { close(end); <-ended; must(t, unix.Close(fd)) })
	}
	var out int
	on(t, w.pods[2], func() (err error) {
		out, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	})
	defer func() { must(t, unix.Close(out)) }()
	next := func() int {
		for {
			err := unix.Sendto(out, initiation(31000, 80), 0, &unix.SockaddrInet4{Addr: [4]byte{10, 96, 1, 1}})
			if err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EPERM) {
				t.Fatal(err)
			}
			select {
			case i := <-arrived:
				return i
			case <-time.After(patience / 10):
			case <-t.Context().Done():
				return -1
			}
		}
	}
	w.write(t, made(t, 1, []int{0, 1}, sctp))
	first := next()
	for range 5 {
		if again := next(); again != first {
			t.Fatalf("pod %d has the association, then pod %d", first, again)
		}
	}
	w.write(t, made(t, 1, []int{1 - first}, sctp))
	for len(arrived) > 0 {
		<-arrived
	}
	if now := next(); now != 1-first {
		t.Errorf("pod %d gets the association, which is gone", now)
	}
}

// initiation is the INIT chunk of an association (RFC 9260, 3.3.2).
func initiation(from, to uint16) []byte {
	p := binary.BigEndian.AppendUint16(nil, from)
	p = binary.BigEndian.AppendUint16(p, to)
	p = append(p, make([]byte, 8)...)     // verification tag, checksum
	p = append(p, 1, 0, 0, 20)            // INIT, of 20 bytes
	p = append(p, 0, 0, 0, 7, 0, 1, 0, 0) // tag, window
	p = append(p, 0, 1, 0, 1, 0, 0, 0, 1) // streams, first number
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	return p
}
