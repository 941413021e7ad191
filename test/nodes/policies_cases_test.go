package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/netns"
)

// isLarge is what is sent over a way that carries smaller packets than its ends think.
const isLarge = 10 << 20

// storeLabels are those of a pod whose policies name the networks behind a narrow link alone.
var storeLabels = map[string]string{"app": "store"}

// beyond is a client and server behind a link of the router that carries less than its ends think.
func (w *world) beyond(t *testing.T) *netns.Namespace {
	t.Helper()
	const device, mtu = "narrow", 1300
	n := netns.New(t)
	joinAs(t, own, device, n, "eth0", []string{"203.0.113.2/24", "2001:db8:2::2/64"})
	own.Give(t, device, "203.0.113.254/24", "2001:db8:2::fe/64")
	n.Route(t, "0.0.0.0/0", "eth0", "203.0.113.254", "")
	n.Route(t, "::/0", "eth0", "2001:db8:2::fe", "")
	link, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.LinkSetMTU(link, mtu)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The errors that a router sends about packets that are too large reach a pod whose policies allow little, in
// both directions, also behind a Service; and nothing else of their kind does.
func testPathMTU(t *testing.T, w *world, one *machine, stranger *pod) {
	outside := w.beyond(t)
	store := one.started(t, "store", storeLabels)
	networks := []networkingv1.NetworkPolicyPeer{
		{IPBlock: &networkingv1.IPBlock{CIDR: "203.0.113.0/24"}}, {IPBlock: &networkingv1.IPBlock{CIDR: "2001:db8:2::/64"}},
	}
	w.policy(t, "store", networkingv1.NetworkPolicySpec{
		PodSelector: selecting(storeLabels), PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: networks}}, Egress: []networkingv1.NetworkPolicyEgressRule{{To: networks}},
	})
	becomesClosed(t, stranger.Namespace, store.at(0, 8080))
	for family := range 2 {
		if isPinged(t, stranger.Namespace, store.addresses[family]) {
			t.Errorf("the stranger's echo request to %s passes", store.addresses[family])
		}
	}
	if !isPinged(t, one.Namespace, store.addresses[0]) {
		t.Error("its own node's echo request does not pass: the test shows nothing")
	}
	gives := func(c net.Conn) { _, _ = c.Write(make([]byte, isLarge)) }
	takes := func(c net.Conn) {
		n, _ := io.CopyN(io.Discard, c, isLarge)
		_, _ = fmt.Fprintln(c, n)
	}
	const large = 8090
	service := w.shop(t, corev1.ServiceExternalTrafficPolicyLocal)
	w.leadTo(t, service, large, store)
	for family := range 2 {
		store.Serve(t, store.at(family, large), gives)
		address := []string{"203.0.113.2:9000", "[2001:db8:2::2]:9000"}[family]
		outside.Serve(t, address, takes)
		within(t, "an upload to "+address, func() error {
			c, err := store.Dial(t, address)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			go gives(c)
			var n int
			if _, err := fmt.Fscan(c, &n); err != nil || n != isLarge {
				return fmt.Errorf("%d bytes arrived: %w", n, err)
			}
			return nil
		})
		nodePort := net.JoinHostPort(one.addresses[family].String(), fmt.Sprint(service.Spec.Ports[0].NodePort))
		becomesOpen(t, outside, nodePort)
		within(t, "a download from "+nodePort, func() error {
			c, err := outside.Dial(t, nodePort)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			n, err := io.CopyN(io.Discard, c, isLarge)
			if err != nil {
				return fmt.Errorf("%d bytes arrived: %w", n, err)
			}
			return nil
		})
	}
}

// isPinged says whether an echo request is answered.
func isPinged(t *testing.T, from *netns.Namespace, to netip.Addr) bool {
	t.Helper()
	network, kind := "ip4:icmp", icmp.Type(ipv4.ICMPTypeEcho)
	if to.Is6() {
		network, kind = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest
	}
	request, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: 1, Seq: 1, Data: []byte("hello")}}).Marshal(nil)
	var c net.Conn
	if err == nil {
		from.Do(func() { c, err = (&net.Dialer{}).DialContext(t.Context(), network, to.String()) })
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(silence))
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	for buffer := make([]byte, 1500); ; {
		n, err := c.Read(buffer)
		if err != nil {
			return false
		}
		if bytes.HasSuffix(buffer[:n], []byte("hello")) && buffer[n-13] != request[0] { // a neighbour's message, or the request itself
			return true
		}
	}
}

// within demands that something is done in five seconds.
func within(t *testing.T, what string, do func() error) {
	t.Helper()
	const most = 5 * time.Second
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("%s took %s", what, time.Since(began).Round(time.Millisecond))
	case <-time.After(most):
		t.Errorf("%s is not done within %s", what, most)
	}
}

// The labels of a namespace decide from when they change, on connections that are open, too, and in both directions.
func testNamespaceLabels(t *testing.T, w *world, friend, web *pod) {
	team := metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	client, server := selecting(isClient), selecting(isServer)
	peers := map[string]networkingv1.NetworkPolicyPeer{
		"a namespace": {NamespaceSelector: &team}, "pods of a namespace": {NamespaceSelector: &team, PodSelector: &client},
	}
	toServers := networkingv1.NetworkPolicyPeer{NamespaceSelector: &team, PodSelector: &server}
	for what, policy := range map[string]networkingv1.NetworkPolicySpec{
		"from a namespace":         {PodSelector: server, Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peers["a namespace"]}}}},
		"from pods of a namespace": {PodSelector: server, Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peers["pods of a namespace"]}}}},
		"to pods of a namespace": {
			PodSelector: client, PolicyTypes: []networkingv1.PolicyType{"Egress"},
			Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{toServers}}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			_ = w.client.NetworkingV1().NetworkPolicies("shop").Delete(context.Background(), "web", metav1.DeleteOptions{})
			w.policy(t, "team", policy)
			for family := range 2 {
				web.Serve(t, web.at(family, 7002), echo)
				w.label(t, "b")
				becomesClosed(t, friend.Namespace, web.at(family, 7002))
				w.label(t, "a")
				becomesOpen(t, friend.Namespace, web.at(family, 7002))
				open := connect(t, friend.Namespace, web.at(family, 7002))
				if err := open.works(patience); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				w.label(t, "") // it goes
				open.ends(t)
				t.Logf("it ended %s after the label went", time.Since(began).Round(time.Millisecond))
				becomesClosed(t, friend.Namespace, web.at(family, 7002))
			}
		})
	}
}

// label gives the namespace of the pods its label team; empty: none.
func (w *world) label(t *testing.T, team string) {
	t.Helper()
	value := "null"
	if team != "" {
		value = fmt.Sprintf("%q", team)
	}
	w.Kubectl(t, "", "patch", "namespace", "shop", "--type=merge", "-p", fmt.Sprintf(`{"metadata":{"labels":{"team":%s}}}`, value))
}

func becomesOpen(t *testing.T, from *netns.Namespace, to string) {
	t.Helper()
	eventually(t, to+" answers", patience, func() error {
		if !passes(t, from, to) {
			return errors.New("it does not")
		}
		return nil
	})
}

func becomesClosed(t *testing.T, from *netns.Namespace, to string) {
	t.Helper()
	eventually(t, to+" is closed", patience, func() error {
		if passes(t, from, to) {
			return errors.New("it answers")
		}
		return nil
	})
}
