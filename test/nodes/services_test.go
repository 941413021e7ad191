package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
)

// shop makes a Service of both families with a NodePort, any or that of a number, and returns
// it as the API server has it. It ends with the test.
func (w *world) shop(t *testing.T, policy corev1.ServiceExternalTrafficPolicy, nodePort ...int32) *corev1.Service {
	t.Helper()
	port := corev1.ServicePort{Name: "http", Port: 80}
	if len(nodePort) > 0 {
		port.NodePort = nodePort[0]
	}
	both := corev1.IPFamilyPolicyRequireDualStack
	services := w.client.CoreV1().Services(metav1.NamespaceDefault)
	s, err := services.Create(context.Background(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, IPFamilyPolicy: &both, ExternalTrafficPolicy: policy,
			Ports: []corev1.ServicePort{port},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = services.Delete(context.Background(), s.Name, metav1.DeleteOptions{})
		of := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name}
		_ = w.client.DiscoveryV1().EndpointSlices(s.Namespace).DeleteCollection(context.Background(), metav1.DeleteOptions{}, of)
	})
	return s
}

// lead makes pods the endpoints of a Service, as the controllers of Kubernetes do.
func (w *world) lead(t *testing.T, s *corev1.Service, pods ...*pod) {
	t.Helper()
	w.leadTo(t, s, 8080, pods...)
}

func (w *world) leadTo(t *testing.T, s *corev1.Service, port int32, pods ...*pod) {
	t.Helper()
	written := w.client.DiscoveryV1().EndpointSlices(s.Namespace)
	for family, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		name := "http"
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprintf("%s-%d", s.Name, family), Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
			},
			AddressType: kind, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		}
		for _, p := range pods {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{p.addresses[family].String()}, NodeName: &p.node.name,
			})
		}
		_, err := written.Update(context.Background(), slice, metav1.UpdateOptions{})
		if err != nil {
			_, err = written.Create(context.Background(), slice, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// at is the address of a Service of the family of an index.
func at(s *corev1.Service, family int) string {
	return net.JoinHostPort(s.Spec.ClusterIPs[family], fmt.Sprint(s.Spec.Ports[0].Port))
}

// seen are the addresses of a machine that others may see: its own, and that of its end of
// the overlay.
func (m *machine) seen(family int) []string {
	overlay := []string{"10.244.%s.0", "fd00:244:%s::"}[family]
	return []string{m.addresses[family].String(), fmt.Sprintf(overlay, m.name[1:])}
}

// becomes checks that what answers at an address sees a client at one of some addresses,
// sooner or later: "refused" is an answer, too.
func becomes(t *testing.T, from *netns.Namespace, to string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s answers %s", to, want), patience, func() error {
		said, err := from.Ask(t, to)
		if err != nil && strings.Contains(err.Error(), "refused") {
			said = "refused"
		}
		if !slices.Contains(want, said) {
			return errors.Join(fmt.Errorf("it answers %q", said), err)
		}
		return nil
	})
}

// Services lead to pods of all nodes, from pods, nodes and outside; they go on while agents
// and the API server are away, and follow when these are back.
func testServices(t *testing.T, w *world) {
	flags := []string{"--services"}
	one, two := w.machine(t, settings{number: 1, flags: flags}), w.machine(t, settings{number: 2, flags: flags})
	far := w.machine(t, settings{number: 3, fabric: 1, flags: flags})
	a, b, c := one.pod("a", "").serve(t), two.pod("b", "").serve(t), far.pod("c", "").serve(t)
	anywhere, local := w.shop(t, corev1.ServiceExternalTrafficPolicyCluster), w.shop(t, corev1.ServiceExternalTrafficPolicyLocal)
	w.lead(t, anywhere, c)
	w.lead(t, local, b)

	for family := range 2 {
		outside := []string{"192.0.2.254", "2001:db8::fe"}[family]
		nodePort := func(m *machine, s *corev1.Service) string {
			return net.JoinHostPort(m.addresses[family].String(), fmt.Sprint(s.Spec.Ports[0].NodePort))
		}
		becomes(t, a.Namespace, at(anywhere, family), a.addresses[family].String())
		becomes(t, c.Namespace, at(anywhere, family), far.seen(family)...) // itself
		becomes(t, one.Namespace, at(local, family), one.seen(family)...)
		becomes(t, far.Namespace, at(local, family), far.seen(family)...)
		becomes(t, own, nodePort(two, local), outside)
		becomes(t, a.Namespace, nodePort(one, local), a.addresses[family].String()) // pods reach all of its endpoints
		becomes(t, own, nodePort(one, anywhere), one.seen(family)...)
		if said, err := own.Dial(t, nodePort(one, local)); err == nil {
			t.Errorf("a node without an endpoint answers %v", said)
		}
		becomes(t, a.Namespace, net.JoinHostPort(anywhere.Spec.ClusterIPs[family], "81"), "refused")
	}

	t.Run("agents are away", func(t *testing.T) {
		b.Serve(t, b.at(0, 7000), echo)
		open := connect(t, a.Namespace, b.at(0, 7000))
		one.process.Kill()
		becomes(t, a.Namespace, at(local, 0), a.addresses[0].String())
		w.lead(t, anywhere) // nobody
		w.lead(t, local, c)
		one.shell("nft flush ruleset") // also of what belongs to nobody
		one.run()
		becomes(t, a.Namespace, at(anywhere, 0), "refused")
		becomes(t, a.Namespace, at(anywhere, 1), "refused")
		becomes(t, a.Namespace, at(local, 1), a.addresses[1].String())
		if err := open.works(patience); err != nil {
			t.Errorf("an open connection: %v", err)
		}
	})
	t.Run("a failover while the API server is away", func(t *testing.T) { failsOver(t, w, a, b, one, two, far) })
	t.Run("the API server is away", func(t *testing.T) {
		one.gate.close()
		w.lead(t, anywhere, b)
		w.lead(t, local, a)
		becomes(t, a.Namespace, at(local, 0), a.addresses[0].String()) // still c
		one.process.Kill()
		one.run()
		becomes(t, a.Namespace, at(local, 0), a.addresses[0].String())
		asks(t, a.Namespace, b.at(0, 8080), a.addresses[0].String())
		one.gate.listen(one)
		becomes(t, a.Namespace, at(anywhere, 1), a.addresses[1].String())
		becomes(t, a.Namespace, at(local, 1), one.seen(1)...) // itself
	})
	t.Run("another program keeps them", func(t *testing.T) {
		far.process.Kill()
		far.flags = nil
		far.run()
		far.eventually("their tables are gone", func() error {
			if tables := far.shell("nft list tables"); strings.Contains(tables, "fairway-services") {
				return fmt.Errorf("it has %s", tables)
			}
			return nil
		})
		asks(t, a.Namespace, c.at(0, 8080), a.addresses[0].String())
	})
	t.Run("cleanup", func(t *testing.T) {
		two.process.Kill()
		dir, err := programs()
		if err != nil {
			t.Fatal(err)
		}
		if said, err := two.command(dir+"/fairway", two.agentArgs("--cleanup")...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		if left := two.shell("nft list tables"); left != "" {
			t.Errorf("it leaves\n%s", left)
		}
	})
}

// failsOver moves a Service from one pod to another, by one write, while no agent reaches the
// API server. All of them lead to the other alone when they do again.
func failsOver(t *testing.T, w *world, from, to *pod, nodes ...*machine) {
	t.Helper()
	const promised = 5 * time.Second
	primary := w.shop(t, corev1.ServiceExternalTrafficPolicyCluster)
	leads := func(to *pod, within time.Duration) {
		t.Helper()
		began := time.Now()
		for _, m := range nodes {
			eventually(t, m.name+" leads to "+to.id+" alone", within, func() error {
				if got, want := m.endpoints(primary), []string{to.addresses[0].String()}; !slices.Equal(got, want) {
					return fmt.Errorf("it leads to %v", got)
				}
				return nil
			})
		}
		soak.Promised(t, "all nodes lead to "+to.id+" alone", time.Since(began), promised)
	}
	counted := func(m *machine) (changes int) {
		for line := range strings.Lines(m.shell("curl -sf http://127.0.0.1:9469/metrics")) {
			if text, is := strings.CutPrefix(line, "kubeproxy_network_programming_duration_seconds_count "); is {
				_, _ = fmt.Sscan(text, &changes) // 0 is wrong, too
			}
		}
		return changes
	}
	before := counted(nodes[1])
	w.slice(t, primary, from.addresses[0].String())
	leads(from, patience)
	for _, m := range nodes {
		m.gate.close()
	}
	w.slice(t, primary, to.addresses[0].String())
	time.Sleep(soak.Pick(3*time.Second, 90*time.Second)) //nolint:forbidigo // so long it is away
	for _, m := range nodes {
		if got, want := m.endpoints(primary), []string{from.addresses[0].String()}; !slices.Equal(got, want) {
			t.Errorf("%s leads to %v without the API server, want %v", m.name, got, want)
		}
	}
	for _, m := range nodes {
		m.gate.listen(m)
	}
	leads(to, patience)
	if changes := counted(nodes[1]) - before; changes != 2 {
		t.Errorf("%s has timed %d changes of endpoints, want 2", nodes[1].name, changes)
	}
}

// endpoint is one of a map's elements, by cluster IP and port.
var endpoint = regexp.MustCompile(`([0-9.]+) \. tcp \. 80 \. \S+ : ([0-9.]+) \. 8080`)

// endpoints are those of a Service's cluster IP in the kernel.
func (m *machine) endpoints(s *corev1.Service) []string {
	m.t.Helper()
	var all []string
	for _, found := range endpoint.FindAllStringSubmatch(m.shell("nft list map ip fairway-services endpoints"), -1) {
		if found[1] == s.Spec.ClusterIPs[0] && !slices.Contains(all, found[2]) {
			all = append(all, found[2])
		}
	}
	return all
}

// Services work on another's pod network: the agent makes neither routes nor a network
// configuration.
func testServicesAlone(t *testing.T, w *world) {
	m := w.machine(t, settings{number: 1, flags: []string{"--services", "--pod-network=false"}, unstarted: true})
	m.run()
	s := w.shop(t, corev1.ServiceExternalTrafficPolicyLocal)
	written := w.client.DiscoveryV1().EndpointSlices(s.Namespace)
	port, name := int32(9000), "http"
	m.Answer(t, "[::]:9000")
	_, err := written.Create(context.Background(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: s.Name, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{m.addresses[0].String()}, NodeName: &m.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	becomes(t, own, net.JoinHostPort(m.addresses[0].String(), fmt.Sprint(s.Spec.Ports[0].NodePort)), "192.0.2.254")
	becomes(t, m.Namespace, at(s, 0), m.addresses[0].String())
	if tables := strings.Fields(m.shell("nft list tables")); len(tables) != 6 {
		t.Errorf("it has the tables %s", tables)
	}
	m.eventually("it is ready", func() error {
		_, err := m.command("curl", "-sf", "http://127.0.0.1:9469/readyz").CombinedOutput()
		return err
	})
	t.Run("a program listens at a node port", func(t *testing.T) { listensAtNodePort(t, m) })
}

// listensAtNodePort sees that the owner of a Service is told of a program that listens at its
// node port, and of the program's end.
func listensAtNodePort(t *testing.T, m *machine) {
	m.shell("sysctl -q net.ipv4.ip_local_port_range='20000 60999'")
	var socket net.Listener
	m.must(func() (err error) {
		socket, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "[::]:32001")
		return err
	})
	defer socket.Close()
	s := m.world.shop(t, corev1.ServiceExternalTrafficPolicyCluster, 32001)
	m.eventually("it is told", func() error {
		events, err := m.world.client.CoreV1().Events(s.Namespace).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var all []string
		for _, e := range events.Items {
			if e.InvolvedObject.Name == s.Name && e.Reason == "NodePortShadowed" {
				all = append(all, e.Message)
			}
		}
		if len(all) != 1 || !strings.HasPrefix(all[0], "on node "+m.name+" nodes.test listens at [::]:32001/tcp,") {
			return fmt.Errorf("the events say %q", all)
		}
		return nil
	})
	m.told("NodePortsEphemeral", "20000 to 60999")
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	m.world.shop(t, corev1.ServiceExternalTrafficPolicyCluster) // it looks again
	m.eventually("it is resolved", func() error {
		if said := m.shell("curl -sf http://127.0.0.1:9469/metrics"); strings.Contains(said, "NodePortShadowed") {
			return errors.New("it is still a Problem")
		}
		return nil
	})
}
