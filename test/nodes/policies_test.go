package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/clusterpolicy"
	"github.com/fairwaynet/fairway/test/netns"
)

// silence is how long a packet that is dropped is waited for.
const silence = 300 * time.Millisecond

// namespaced makes the namespace in which the pods of machines are.
func (w *world) namespaced(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	_, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	_, err = w.client.CoreV1().ServiceAccounts("shop").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// announce makes the Pod of a machine that is about to start, as the scheduler leaves it.
func (m *machine) announce(id string, labels map[string]string) {
	m.t.Helper()
	no := false
	object, err := m.world.client.CoreV1().Pods("shop").Create(context.Background(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: id, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: m.name, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{Name: "main", Image: "none", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	m.knowing.Lock()
	defer m.knowing.Unlock()
	if m.uids == nil {
		m.uids = map[string]string{}
	}
	m.uids[id] = string(object.UID)
}

// forget deletes a Pod.
func (m *machine) forget(id string) {
	now := int64(0)
	_ = m.world.client.CoreV1().Pods("shop").Delete(context.Background(), id, metav1.DeleteOptions{GracePeriodSeconds: &now})
}

// report writes a pod's addresses into its Pod, as the kubelet does some time after its start.
func (p *pod) report() {
	t := p.node.t
	t.Helper()
	pods := p.node.world.client.CoreV1().Pods("shop")
	object, err := pods.Get(context.Background(), p.id, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object.Status.Phase, object.Status.PodIP = corev1.PodRunning, p.addresses[0].String()
	for _, a := range p.addresses {
		object.Status.PodIPs = append(object.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	if _, err := pods.UpdateStatus(context.Background(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// relabel gives a Pod other labels.
func (p *pod) relabel(labels map[string]string) {
	t := p.node.t
	t.Helper()
	pods := p.node.world.client.CoreV1().Pods("shop")
	object, err := pods.Get(context.Background(), p.id, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object.Labels = labels
	if _, err := pods.Update(context.Background(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// started starts a pod that the API server knows, and reports its addresses.
func (m *machine) started(t *testing.T, id string, labels map[string]string) *pod {
	t.Helper()
	m.announce(id, labels)
	p := m.pod(id, "").serve(t)
	p.report()
	return p
}

func (w *world) policy(t *testing.T, name string, spec networkingv1.NetworkPolicySpec) {
	t.Helper()
	policies := w.client.NetworkingV1().NetworkPolicies("shop")
	object := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	_, err := policies.Create(context.Background(), object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = policies.Update(context.Background(), object, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = policies.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

func selecting(labels map[string]string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: labels}
}

// from lets pods with labels in.
func from(labels map[string]string) []networkingv1.NetworkPolicyIngressRule {
	selector := selecting(labels)
	return []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &selector}}}}
}

// passes says whether a new connection passes within a moment.
func passes(t testing.TB, n *netns.Namespace, to string) bool {
	t.Helper()
	return passesWithin(t, n, to, silence)
}

func passesWithin(t testing.TB, n *netns.Namespace, to string, within time.Duration) bool {
	t.Helper()
	var c net.Conn
	var err error
	n.Do(func() { c, err = (&net.Dialer{Timeout: within}).DialContext(t.Context(), "tcp", to) })
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

var isClient, isServer, isOther = map[string]string{"app": "client"}, map[string]string{"app": "server"}, map[string]string{"app": "other"}

// Policies hold for pods from their first packet, on all nodes, in both families, and while agents and the API
// server are away.
func testPolicies(t *testing.T, w *world) {
	w.namespaced(t)
	t.Cleanup(func() {
		now := int64(0)
		_ = w.client.CoreV1().Pods("shop").DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	})
	flags := []string{"--services", "--policies"}
	one := w.machine(t, settings{number: 1, flags: append(flags, "--log-denied")})
	two := w.machine(t, settings{number: 2, flags: flags, ranges: []string{"10.244.2.0/27", "fd00:244:2::/64"}}) // few addresses
	web := one.started(t, "web", isServer)
	friend, stranger := two.started(t, "friend", isClient), two.started(t, "stranger", isOther)
	beside := one.started(t, "beside", isClient)
	service := w.shop(t, corev1.ServiceExternalTrafficPolicyCluster)
	w.lead(t, service, web)
	becomes(t, stranger.Namespace, at(service, 0), stranger.addresses[0].String())
	w.policy(t, "web", networkingv1.NetworkPolicySpec{PodSelector: selecting(isServer), Ingress: from(isClient)})
	becomesClosed(t, stranger.Namespace, web.at(0, 8080))
	eventually(t, "the agent logs it", patience, func() error {
		passes(t, stranger.Namespace, web.at(0, 8080))
		said := fmt.Sprintf("namespace=shop pod=web direction=Ingress source=%s destination=%s protocol=TCP port=8080",
			stranger.addresses[0], web.addresses[0])
		if one.process.Count(said) == 0 {
			return errors.New("it does not: " + one.process.Tail())
		}
		return nil
	})
	hold := func(t *testing.T) {
		t.Helper()
		for family := range 2 {
			for _, p := range []*pod{friend, beside} {
				becomes(t, p.Namespace, web.at(family, 8080), p.addresses[family].String())
				becomes(t, p.Namespace, at(service, family), p.addresses[family].String())
			}
			asks(t, one.Namespace, web.at(family, 8080), one.addresses[family].String()) // as the kubelet does
			nodePort := net.JoinHostPort(two.addresses[family].String(), fmt.Sprint(service.Spec.Ports[0].NodePort))
			for _, c := range []struct {
				what string
				from *netns.Namespace
				to   string
			}{
				{"the stranger", stranger.Namespace, web.at(family, 8080)}, {"the stranger by the Service", stranger.Namespace, at(service, family)},
				{"the other node", two.Namespace, web.at(family, 8080)}, {"outside, masqueraded by the other node", own, nodePort},
			} {
				if passes(t, c.from, c.to) {
					t.Errorf("%s passes to %s", c.what, c.to)
				}
			}
		}
	}
	hold(t)
	t.Run("a restart", func(t *testing.T) {
		web.Serve(t, web.at(1, 7000), echo)
		open := connect(t, friend.Namespace, web.at(1, 7000))
		one.process.Kill()
		hold(t)
		one.run()
		hold(t)
		if err := open.works(patience); err != nil {
			t.Errorf("an open connection: %v", err)
		}
	})
	t.Run("the API server is away", func(t *testing.T) {
		one.gate.close()
		one.process.Kill()
		one.run()
		hold(t)
		one.gate.listen(one)
		hold(t)
	})
	t.Run("restarts at any moment", func(t *testing.T) { testRestarts(t, one, stranger, web) })
	t.Run("a way that carries less", func(t *testing.T) { testPathMTU(t, w, one, stranger) })
	t.Run("a label goes", func(t *testing.T) { testALabelGoes(t, friend, web) })
	t.Run("no gap", func(t *testing.T) { testNoGap(t, w, one, two) })
	t.Run("an address is used again", func(t *testing.T) { testAnAddressIsUsedAgain(t, two, web) })
	t.Run("a namespace's labels", func(t *testing.T) { testNamespaceLabels(t, w, friend, web) })
	w.policy(t, "web", networkingv1.NetworkPolicySpec{PodSelector: selecting(isServer), Ingress: from(isClient)})
	t.Run("policies of the cluster", func(t *testing.T) { testPoliciesOfTheCluster(t, w, one, friend, stranger, web) })
}

// A client that is denied gets through at no moment while agents start, with and without an API server.
func testRestarts(t *testing.T, one *machine, stranger, web *pod) {
	end := make(chan struct{})
	var knocking sync.WaitGroup
	var knocks atomic.Int64
	for i := range 12 {
		to := web.at(i%2, 8080)
		knocking.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				knocks.Add(1)
				if passesWithin(t, stranger.Namespace, to, silence/5) {
					t.Errorf("the stranger passes to %s at %s", to, time.Now().Format(time.TimeOnly+".000"))
				}
			}
		})
	}
	for _, away := range []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 1200 * time.Millisecond} {
		one.gate.close()
		one.process.Kill()
		one.run()
		time.Sleep(away) //nolint:forbidigo // so long the API server is away
		one.gate.listen(one)
		one.eventually("the agent has written policies", func() error {
			said, err := one.command("sh", "-c", "curl -sf http://127.0.0.1:9469/metrics | grep '^fairway_node_policy_commit_seconds_count [1-9]'").CombinedOutput()
			if err != nil {
				return fmt.Errorf("it has not: %w: %s", err, said)
			}
			return nil
		})
	}
	close(end)
	knocking.Wait()
	t.Logf("%d knocks", knocks.Load())
}

// clusterPolicies lets the stranger in and keeps the client out, ahead of the policies of the namespace.
const clusterPolicies = `
apiVersion: policy.networking.k8s.io/v1beta1
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: server}}}}
  ingress:
  - {action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: other}}}}]}
  - {action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: client}}}}]}
`

// ClusterNetworkPolicies hold from when their definition is installed until it is removed, and over a restart.
func testPoliciesOfTheCluster(t *testing.T, w *world, one *machine, friend, stranger, web *pod) {
	definition := clusterpolicy.Define(t, w, clusterpolicy.Standard)
	w.Kubectl(t, clusterPolicies, "apply", "-f", "-")
	becomes := func(p *pod, want bool) {
		t.Helper()
		for family := range 2 {
			eventually(t, fmt.Sprintf("%s passes: %t", p.id, want), 2*patience, func() error {
				if passes(t, p.Namespace, web.at(family, 8080)) != want {
					return errors.New("not so")
				}
				return nil
			})
		}
	}
	becomes(stranger, true)
	becomes(friend, false)
	one.process.Kill()
	one.run()
	becomes(friend, false)
	for range 20 { // also while it reads everything anew
		if passes(t, friend.Namespace, web.at(0, 8080)) {
			t.Error("the client passes after a restart")
		}
	}
	becomes(stranger, true)
	w.Kubectl(t, "", "delete", "-f", definition)
	becomes(stranger, false)
	becomes(friend, true)
}

// A client that loses its label loses its connections within a second.
func testALabelGoes(t *testing.T, friend, web *pod) {
	web.Serve(t, web.at(0, 7000), echo)
	open := connect(t, friend.Namespace, web.at(0, 7000))
	if err := open.works(patience); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	friend.relabel(isOther)
	open.ends(t)
	t.Logf("it ended %s after the label went", time.Since(began).Round(time.Millisecond))
	friend.relabel(isClient)
	becomes(t, friend.Namespace, web.at(0, 8080), friend.addresses[0].String())
}

// Of many pods that begin at once under a policy that denies all, none gets a connection through, though each
// tries from its first moment on.
func testNoGap(t *testing.T, w *world, one, two *machine) {
	const many = 200
	var arrived atomic.Int64
	two.announce("open", isOther)
	open := two.pod("open", "")
	for family := range 2 {
		open.Serve(t, open.at(family, 8080), func(c net.Conn) { arrived.Add(1); _ = c.Close() })
	}
	closed := map[string]string{"app": "closed"}
	w.policy(t, "deny", networkingv1.NetworkPolicySpec{PodSelector: selecting(closed), PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}})
	one.eventually("the plugin knows of the policy", func() error {
		if said := one.shell("cat " + one.folder("run/node.json")); !strings.Contains(said, "shop") {
			return fmt.Errorf("it has %s", said)
		}
		return nil
	})
	ids := make(chan string, many)
	var starting sync.WaitGroup
	for range 8 {
		starting.Go(func() {
			for id := range ids {
				one.announce(id, closed)
				p, err := one.tryPod(id, "")
				if err != nil {
					t.Errorf("pod %s: %v", id, err)
					continue
				}
				for family := range 2 {
					if passes(t, p.Namespace, open.at(family, 8080)) {
						t.Errorf("pod %s gets a connection", id)
					}
				}
			}
		})
	}
	began := time.Now()
	for i := range many {
		ids <- fmt.Sprint("closed-", i)
	}
	close(ids)
	starting.Wait()
	t.Logf("%d pods in %s", many, time.Since(began).Round(time.Millisecond))
	if n := arrived.Load(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
}

// The next pod with an address gets nothing of what its last owner was allowed.
func testAnAddressIsUsedAgain(t *testing.T, two *machine, web *pod) {
	web.Serve(t, web.at(0, 7001), echo)
	first := two.started(t, "first", isClient)
	becomes(t, first.Namespace, web.at(0, 8080), first.addresses[0].String())
	address := first.addresses[0]
	open := connect(t, first.Namespace, web.at(0, 7001))
	if err := open.works(patience); err != nil {
		t.Fatal(err)
	}
	first.remove()
	two.forget("first")
	for i := range 300 { // until the range has come round
		two.announce(fmt.Sprint("again-", i), isOther)
		p := two.pod(fmt.Sprint("again-", i), "")
		if slices.Contains(p.addresses, address) {
			becomesClosed(t, p.Namespace, web.at(0, 8080))
			return
		}
		p.remove()
	}
	t.Fatal("the address was not used again")
}
