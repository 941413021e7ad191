package enforce_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/proxy/nft/nflog"
	"github.com/fairwaynet/fairway/proxy/policy"
	"github.com/fairwaynet/fairway/proxy/policy/enforce"
)

// logged starts an Enforcer that logs, and returns what it logs.
func (w *world) logged(t *testing.T) <-chan enforce.Denial {
	t.Helper()
	w.stop()
	w.logs = true
	w.begin(t)
	w.start(t)
	denials := make(chan enforce.Denial, 1000)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var listening sync.WaitGroup
	enforcer := w.enforcer
	listening.Go(func() {
		enforcer.Listen(ctx, func(d enforce.Denial) { denials <- d }, func(err error) { t.Error(err) })
	})
	t.Cleanup(func() {
		cancel()
		listening.Wait()
	})
	w.listens(t)
	return denials
}

// listens waits until the kernel has a listener.
func (w *world) listens(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		other, err := nflog.Open(t.Context(), policy.LogGroup)
		if errors.Is(err, nflog.ErrTaken) {
			return
		}
		must(t, err)
		must(t, other.Close())
		if time.Now().After(deadline) {
			t.Fatal("nobody listens")
		}
	}
}

// chain waits until addresses of IPv4 lead to a chain: the commit that writes it has written all.
func (w *world) chain(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(listed(t), "goto "+name); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is no chain %s:\n%s", name, listed(t))
		}
	}
	w.done(t)
}

// next is the next denial that is logged of a protocol: neighbours' and routers' messages come between.
func next(t *testing.T, denials <-chan enforce.Denial, protocol uint8) enforce.Denial {
	t.Helper()
	for patience := time.After(patience); ; {
		select {
		case d := <-denials:
			if d.Protocol == protocol {
				return d
			}
		case <-patience:
			t.Fatal("nothing is logged")
		}
	}
}

// drain waits until nothing is logged any more: a client that is denied tries again.
func drain(denials <-chan enforce.Denial) {
	for {
		select {
		case <-denials:
		case <-time.After(silence):
			return
		}
	}
}

func denyAll(d networkingv1.PolicyType) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{}
	p.Namespace, p.Name = "shop", "deny"
	p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{d}
	return p
}

// What is denied is logged with its pod, direction and both ends; what is allowed is not. It is logged again
// after another agent began.
func TestDeniedPacketsAreLogged(t *testing.T) {
	w := newWorld(t)
	denials := w.logged(t)
	w.policy(t, allow(map[string]string{"role": "client"}))
	w.chain(t, "ingress-uid-0")
	for kind, to := range kinds() {
		w.connect(t, 1, kind, to)
		w.refused(t, 2, kind, to)
		protocol := map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[kind[:3]]
		ipv6 := strings.HasSuffix(kind, "6")
		got := next(t, denials, protocol)
		if got.SourcePort == 0 {
			t.Errorf("%s: %+v has no source port", kind, got)
		}
		got.SourcePort = 0
		want := enforce.Denial{Pod: types.NamespacedName{Namespace: "shop", Name: "p0"}, Direction: policy.Ingress, Headers: nflog.Headers{
			Source: netip.MustParseAddr(address(2, ipv6)), Destination: netip.MustParseAddr(address(0, ipv6)), Protocol: protocol, DestinationPort: 80,
		}}
		if got != want {
			t.Errorf("%s: %+v, want %+v", kind, got, want)
		}
		drain(denials)
	}
	w.enforcer.PublishPolicy(types.NamespacedName{Namespace: "shop", Name: "web"}, nil)
	w.policy(t, denyAll(networkingv1.PolicyTypeEgress))
	w.chain(t, "egress-uid-0")
	w.refused(t, 0, "udp4", net.JoinHostPort(address(2, false), "80"))
	if got := next(t, denials, unix.IPPROTO_UDP); got.Direction != policy.Egress || got.Pod.Name != "p0" || got.Source.String() != address(0, false) {
		t.Errorf("what the pod sent: %+v", got)
	}
}

// The log of a pod that is flooded is bounded, costs others nothing, and what is denied is counted all the same.
func TestTheLogIsBounded(t *testing.T) {
	w := newWorld(t)
	denials := w.logged(t)
	w.policy(t, denyAll(networkingv1.PolicyTypeIngress))
	w.chain(t, "ingress-uid-0")
	const packets = 2000
	flood, err := w.dial(t, 2, "udp4", net.JoinHostPort(address(0, false), "80"), patience)
	must(t, err)
	for range packets {
		if _, err := flood.Write([]byte("hello")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	<-time.After(2 * time.Second) // the kernel gathers for a second
	if n := len(denials); n < 1 || n > 20 {
		t.Errorf("%d packets are logged", n)
	}
	counted := uint64(0)
	for _, d := range w.enforcer.Denied(t.Context()) {
		counted += d.Packets
	}
	if counted < packets {
		t.Errorf("%d packets are counted, want %d", counted, packets)
	}
}

// Without the option nothing is logged, and rules of an agent that logged are gone.
func TestNothingIsLoggedUnasked(t *testing.T) {
	w := newWorld(t)
	w.logged(t)
	w.policy(t, denyAll(networkingv1.PolicyTypeIngress))
	w.chain(t, "ingress-uid-0")
	if !strings.Contains(listed(t), "log prefix \"ingress-uid-0\" group 8479") {
		t.Errorf("the chain of the pod does not log:\n%s", listed(t))
	}
	w.stop()
	w.logs = false
	w.begin(t)
	w.policy(t, denyAll(networkingv1.PolicyTypeIngress))
	w.start(t)
	w.chain(t, "ingress-uid-0")
	for deadline := time.Now().Add(patience); strings.Contains(listed(t), "group") && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
	}
	if text := listed(t); strings.Contains(text, "group") || !strings.Contains(text, "no policy allows it") {
		t.Errorf("the chain of the pod logs:\n%s", text)
	}
}

// What a policy of the cluster denies is logged with the pod for whose sake, in each direction.
func TestDenialsOfTheClusterAreLogged(t *testing.T) {
	w := newWorld(t)
	denials := w.logged(t)
	everybody := policyv1.ClusterNetworkPolicyIngressPeer{Namespaces: &metav1.LabelSelector{}}
	np := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "quarantine"}, Spec: policyv1.ClusterNetworkPolicySpec{
		Tier: policyv1.AdminTier, Priority: 1,
		Subject: policyv1.ClusterNetworkPolicySubject{Pods: &policyv1.NamespacedPod{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}},
		Ingress: []policyv1.ClusterNetworkPolicyIngressRule{{Action: policyv1.ClusterNetworkPolicyRuleActionDeny, From: []policyv1.ClusterNetworkPolicyIngressPeer{everybody}}},
		Egress:  []policyv1.ClusterNetworkPolicyEgressRule{{Action: policyv1.ClusterNetworkPolicyRuleActionDeny, To: []policyv1.ClusterNetworkPolicyEgressPeer{{Networks: []policyv1.CIDR{"0.0.0.0/0", "::/0"}}}}},
	}}
	parsed, wrong := policy.ParseCluster(np)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	w.enforcer.PublishCluster(np.Name, parsed)
	for deadline := time.Now().Add(patience); !strings.Contains(listed(t), "goto egress-uid-0"); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the pod is not judged:\n%s", listed(t))
		}
	}
	for _, c := range []struct {
		from, to  int
		direction policy.Direction
	}{{2, 0, policy.Ingress}, {0, 2, policy.Egress}} {
		for _, ipv6 := range []bool{false, true} {
			w.refused(t, c.from, map[bool]string{false: "udp4", true: "udp6"}[ipv6], net.JoinHostPort(address(c.to, ipv6), "80"))
			got := next(t, denials, unix.IPPROTO_UDP)
			drain(denials)
			if got.Cluster != "quarantine" || got.Pod.Name != "p0" || got.Direction != c.direction || got.Destination.String() != address(c.to, ipv6) {
				t.Errorf("from %d to %d: %+v", c.from, c.to, got)
			}
		}
	}
}
