package policy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/policy"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
)

func TestMain(m *testing.M) { netns.Main(m) }

// The node is this namespace: n1, with four pods. n2 has four pods, too.
//
//	client 198.51.100.7 ── node 198.51.100.1, 192.0.2.1 ── n2 192.0.2.2
//	                         │ pods 0 to 3                   │ pods 4 to 7
const (
	podsOfNode = 4
	allPods    = 8
)

// silence is how long a packet that is dropped is waited for.
const silence = 150 * time.Millisecond

type network struct {
	pods         []*netns.Namespace // those of n2 are one namespace
	client, peer *netns.Namespace
	engine       *nft.Engine
	book         *told
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clientAddress and nodeAddress are those outside, by whether they are IPv6.
var (
	clientAddress = map[bool]string{false: "198.51.100.7", true: "2001:db8:1::7"}
	nodeAddress   = map[bool]string{false: "198.51.100.1", true: "2001:db8:1::1"}
)

func newNetwork(t testing.TB) *network {
	t.Helper()
	netns.Forward(t)
	for _, path := range []string{"/proc/sys/net/ipv4/icmp_ratelimit", "/proc/sys/net/ipv6/icmp/ratelimit"} {
		must(t, os.WriteFile(path, []byte("0"), 0))
	}
	n := &network{client: netns.New(t), peer: netns.New(t)}
	var own *netns.Namespace
	netns.Join(t, "uplink", nil, []string{"198.51.100.1/24", "2001:db8:1::1/64"}, n.client, []string{"198.51.100.7/24", "2001:db8:1::7/64"})
	netns.Join(t, "peer", nil, []string{"192.0.2.1/24", "2001:db8:2::1/64"}, n.peer, []string{"192.0.2.2/24", "2001:db8:2::2/64"})
	for _, r := range [][2]string{{"0.0.0.0/0", "198.51.100.1"}, {"::/0", "2001:db8:1::1"}} {
		n.client.Route(t, r[0], "uplink", r[1], "")
	}
	for _, r := range [][2]string{{"0.0.0.0/0", "192.0.2.1"}, {"::/0", "2001:db8:2::1"}} {
		n.peer.Route(t, r[0], "peer", r[1], "")
	}
	for i := range allPods {
		four, six := address(i, false), address(i, true)
		if i >= podsOfNode {
			n.peer.Give(t, "lo", four+"/32", six+"/128")
			own.Route(t, four+"/32", "peer", "192.0.2.2", "")
			own.Route(t, six+"/128", "peer", "2001:db8:2::2", "")
			n.pods = append(n.pods, n.peer)
			continue
		}
		pod, device := netns.New(t), fmt.Sprint("pod", i)
		netns.Join(t, device, nil, []string{"169.254.1.1/32", "fd00:1::1/128"}, pod, []string{four + "/32", six + "/128"})
		own.Route(t, four+"/32", device, "", nodeAddress[false])
		own.Route(t, six+"/128", device, "", nodeAddress[true])
		for _, r := range [][2]string{{"169.254.1.1/32", ""}, {"0.0.0.0/0", "169.254.1.1"}, {"fd00:1::1/128", ""}, {"::/0", "fd00:1::1"}} {
			pod.Route(t, r[0], device, r[1], "")
		}
		n.pods = append(n.pods, pod)
	}
	for _, at := range []*netns.Namespace{n.pods[0], n.pods[1], n.pods[2], n.pods[3], n.peer, n.client, nil} {
		for _, port := range ports {
			at.Serve(t, fmt.Sprintf("[::]:%d", port), func(c net.Conn) {
				buffer := make([]byte, 64)
				for { // an echo
					k, err := c.Read(buffer)
					if err != nil {
						return
					}
					_, _ = c.Write(buffer[:k])
				}
			})
		}
	}
	for i, pod := range append(n.pods[:allPods:allPods], n.client, nil) {
		for _, ipv6 := range []bool{false, true} {
			a := clientAddress[ipv6]
			switch {
			case i < allPods:
				a = address(i, ipv6)
			case pod == nil:
				a = nodeAddress[ipv6]
			}
			for _, port := range ports {
				pod.EchoDatagrams(t, net.JoinHostPort(a, fmt.Sprint(port)))
			}
		}
	}
	var err error
	n.engine, err = nft.New(t.Context(), nft.Options{})
	must(t, err)
	t.Cleanup(func() { // the next test's engine would adopt the tables
		must(t, n.engine.Remove(context.Background(), policy.TableKey(nft.IPv4), policy.TableKey(nft.IPv6)))
		must(t, n.engine.Close())
	})
	for _, table := range policy.Tables() {
		must(t, n.engine.Declare(table))
	}
	n.fresh(t)
	return n
}

// fresh forgets all objects.
func (n *network) fresh(t testing.TB) {
	t.Helper()
	if n.book != nil {
		for key, families := range n.book.parts {
			for f := range families {
				must(t, n.engine.Submit(policy.TableKey(f), key, nft.Part{}))
			}
		}
	}
	n.book = newTold("n1")
}

// write puts what the book renders into the kernel.
func (n *network) write(t testing.TB) policy.Changes {
	t.Helper()
	changes := n.book.take()
	for key, families := range changes.Parts {
		for f, part := range families {
			must(t, n.engine.Submit(policy.TableKey(f), key, part))
		}
	}
	result, err := n.engine.Commit(t.Context())
	must(t, err)
	if len(result.Refused)+len(result.Conflicts) > 0 {
		t.Fatalf("refused %v, conflicts %v", result.Refused, result.Conflicts)
	}
	return changes
}

// patience is how long what may pass is waited for.
const patience = 5 * time.Second

// connect opens a connection from an address, and says whether it passed in time.
func connect(t testing.TB, from *netns.Namespace, source, kind, to string, wait time.Duration) (c net.Conn, passed bool) {
	t.Helper()
	dialer := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	if kind == "udp" {
		dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(source)}
	}
	var err error
	from.Do(func() { c, err = dialer.DialContext(t.Context(), kind, to) })
	if err == nil {
		for began := time.Now(); time.Since(began) < wait; { // a datagram may be lost on a busy machine
			if echoes(c, silence) {
				return c, true
			}
		}
		_ = c.Close()
		return nil, false
	}
	if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%s from %s to %s: %v", kind, source, to, err)
	}
	return nil, false
}

// echoes says whether what is sent comes back.
func echoes(c net.Conn, patience time.Duration) bool {
	const word = "hello"
	if _, err := c.Write([]byte(word)); err != nil {
		return false
	}
	buffer := make([]byte, 64)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return false
	}
	k, err := c.Read(buffer)
	return err == nil && strings.HasPrefix(string(buffer[:k]), word)
}

// caller is somebody who connects, or is connected to.
type caller struct {
	from   *netns.Namespace
	pod    *corev1.Pod
	number int
	node   bool
}

func (c caller) address(ipv6 bool) string {
	switch {
	case c.pod != nil:
		return address(c.number, ipv6)
	case c.node:
		return nodeAddress[ipv6]
	default:
		return clientAddress[ipv6]
	}
}

// local says whether the node judges for it.
func (c caller) local() bool { return c.pod != nil && c.number < podsOfNode }

// The kernel lets pass what the words of the API allow, and nothing else: random clusters, all pairs with a
// pod of the node, both protocols and families.
func TestTheKernelDoesWhatTheAPISays(t *testing.T) {
	n := newNetwork(t)
	r := newRandom(t)
	passed, refused := 0, 0
	for range soak.Pick(4, 100) {
		w := r.world(allPods, 6)
		n.fresh(t)
		n.book.tell(t, r, w)
		n.write(t)
		var callers []caller
		for i, p := range w.Pods {
			callers = append(callers, caller{from: n.pods[i], pod: p, number: i})
		}
		callers = append(callers, caller{from: n.client}, caller{node: true})
		var asking sync.WaitGroup
		var mu sync.Mutex
		limit := make(chan struct{}, 64)
		for _, from := range callers {
			for _, to := range callers {
				if !from.local() && !to.local() || from == to {
					continue
				}
				for _, ipv6 := range []bool{false, true} {
					for _, at := range []policy.Target{
						{Protocol: corev1.ProtocolTCP, Port: 8080}, {Protocol: corev1.ProtocolTCP, Port: 8081}, {Protocol: corev1.ProtocolUDP, Port: 8080}, {Protocol: corev1.ProtocolUDP, Port: 9090},
					} {
						want := n.expect(w, from, to, ipv6, at)
						limit <- struct{}{}
						asking.Go(func() {
							defer func() { <-limit }()
							wait := silence
							if want {
								wait = patience
							}
							c, got := connect(t, from.from, from.address(ipv6), strings.ToLower(string(at.Protocol)), net.JoinHostPort(to.address(ipv6), fmt.Sprint(at.Port)), wait)
							if got {
								_ = c.Close()
							}
							mu.Lock()
							defer mu.Unlock()
							if got != want {
								t.Errorf("%+v from %s to %s: passed %t, want %t", at, from.address(ipv6), to.address(ipv6), got, want)
							}
							if want {
								passed++
							} else {
								refused++
							}
						})
					}
				}
			}
		}
		asking.Wait()
		if t.Failed() {
			for _, family := range []string{"ip", "ip6"} {
				said, err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "list", "table", family, "fairway-policy").CombinedOutput()
				t.Logf("%s %v", said, err)
			}
			said, err := exec.CommandContext(t.Context(), "ip", "neigh").CombinedOutput()
			t.Logf("%s %v", said, err)
			for _, p := range w.Policies {
				t.Logf("%s/%s: %+v", p.Namespace, p.Name, p.Spec)
			}
			return
		}
	}
	t.Logf("%d passed, %d did not", passed, refused)
	if passed < 100 || refused < 100 {
		t.Errorf("%d passed, %d did not: the clusters are dull", passed, refused)
	}
}

// expect is what must happen on the node: each of its pods is judged, and what the node itself sends is not.
func (n *network) expect(w policy.World, from, to caller, ipv6 bool, at policy.Target) bool {
	if from.node {
		return true
	}
	a := policy.End{Pod: from.pod, Address: netip.MustParseAddr(from.address(ipv6))}
	b := policy.End{Pod: to.pod, Address: netip.MustParseAddr(to.address(ipv6))}
	// The other node judges its own.
	return (!from.local() || w.AllowsIn(policy.Egress, a, b, at)) && (!to.local() || w.AllowsIn(policy.Ingress, a, b, at))
}
