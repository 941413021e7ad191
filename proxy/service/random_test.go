package service_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/service"
)

// random makes objects, also such as no API server takes.
type random struct {
	*rand.Rand

	text string // stands where addresses and numbers could
}

func (r random) one(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r random, all ...T) T { return all[r.IntN(len(all))] }

func (r random) address() string {
	return pick(r, r.text, "10.96.0.1", "10.96.0.2", "fd00:96::1", "10.244.1.1", "10.244.1.2", "10.244.2.1", "fd00:244:1::1", "198.51.100.1",
		"203.0.113.1", "203.0.113.2", "2001:db8:f::1", "010.001.0.1", "::ffff:10.0.0.1", "fe80::1%a", "None", "")
}

func (r random) protocol() corev1.Protocol {
	return pick(r, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP, "", corev1.Protocol(r.text))
}

func (r random) number() int32 {
	return pick(r, 80, 443, 8080, 30080, 0, -1, 1<<16, 1<<16-1, r.Int32())
}

func (r random) name() string { return pick(r, "", "a", "b", r.text) }

func (r random) condition() *bool { return pick(r, nil, pointer(true), pointer(false)) }

func several[T any](r random, most int, one func() T) (all []T) {
	for range r.IntN(most + 1) {
		all = append(all, one())
	}
	return all
}

func (r random) object(name string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(r.Int64N(3), 0)),
	}}
	s.Spec.Type = pick(r, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName, "")
	s.Spec.ClusterIP, s.Spec.ClusterIPs = r.address(), several(r, 3, r.address)
	s.Spec.Ports = several(r, 3, func() corev1.ServicePort {
		return corev1.ServicePort{Name: r.name(), Protocol: r.protocol(), Port: r.number(), NodePort: r.number()}
	})
	s.Spec.ExternalIPs = several(r, 2, r.address)
	s.Spec.ExternalTrafficPolicy = pick(r, "", corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	s.Spec.InternalTrafficPolicy = pick(r, nil, pointer(corev1.ServiceInternalTrafficPolicyCluster), pointer(corev1.ServiceInternalTrafficPolicyLocal))
	s.Spec.HealthCheckNodePort = r.number()
	if r.one(30) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = pick(r, nil, &corev1.SessionAffinityConfig{}, &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: pointer(r.number())}})
	}
	s.Spec.LoadBalancerSourceRanges = several(r, 2, func() string {
		return pick(r, r.text, "192.0.2.0/24", " 192.0.2.0/25 ", "0.0.0.0/0", "::/0", "2001:db8::/32", "x")
	})
	s.Status.LoadBalancer.Ingress = several(r, 2, func() corev1.LoadBalancerIngress {
		return corev1.LoadBalancerIngress{IP: r.address(), IPMode: pick(r, nil, pointer(corev1.LoadBalancerIPModeProxy), pointer(corev1.LoadBalancerIPModeVIP))}
	})
	return s
}

func (r random) slices() []*discoveryv1.EndpointSlice {
	number := 0
	return several(r, 4, func() *discoveryv1.EndpointSlice {
		number++
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("s", number), ResourceVersion: pick(r, "1", "2", "10", "", r.text)},
			AddressType: pick(r, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN),
		}
		s.Ports = several(r, 3, func() discoveryv1.EndpointPort {
			return discoveryv1.EndpointPort{Name: pick(r, nil, pointer(r.name())), Protocol: pick(r, nil, pointer(r.protocol())), Port: pick(r, nil, pointer(r.number()))}
		})
		s.Endpoints = several(r, 6, func() discoveryv1.Endpoint {
			e := discoveryv1.Endpoint{
				Addresses: several(r, 2, r.address), NodeName: pick(r, nil, pointer("n1"), pointer("n2")),
				Conditions: discoveryv1.EndpointConditions{Ready: r.condition(), Serving: r.condition(), Terminating: r.condition()},
				TargetRef:  pick(r, nil, &corev1.ObjectReference{UID: pick[types.UID](r, "a", "b", "")}),
			}
			if r.one(50) {
				e.Hints = &discoveryv1.EndpointHints{
					ForZones: several(r, 2, func() discoveryv1.ForZone { return discoveryv1.ForZone{Name: pick(r, "a", "b", "")} }),
					ForNodes: several(r, 2, func() discoveryv1.ForNode { return discoveryv1.ForNode{Name: pick(r, "n1", "n2", "")} }),
				}
			}
			return e
		})
		return s
	})
}

// shuffle returns the same slices in another order, with their endpoints and ports in
// another, too.
func (r random) shuffle(all []*discoveryv1.EndpointSlice) (others []*discoveryv1.EndpointSlice) {
	for _, s := range all {
		s = s.DeepCopy()
		r.Shuffle(len(s.Endpoints), func(i, k int) { s.Endpoints[i], s.Endpoints[k] = s.Endpoints[k], s.Endpoints[i] })
		r.Shuffle(len(s.Ports), func(i, k int) { s.Ports[i], s.Ports[k] = s.Ports[k], s.Ports[i] })
		others = append(others, s)
	}
	r.Shuffle(len(others), func(i, k int) { others[i], others[k] = others[k], others[i] })
	return others
}

// Whatever the objects are, Build returns, says the same again, does not look at the order of
// what has none, and every front that leads somewhere leads to somebody.
func FuzzBuild(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed, pick(random{rand.New(rand.NewPCG(seed, 0)), ""}, "10.0.0.1", "::1", "224.0.0.1", "x", "10.0.0.0/8", "4294967296", "1.2.3.4.5", "00.0.0.0"))
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		r := random{rand.New(rand.NewPCG(seed, 1)), text}
		object, slices := r.object("web"), r.slices()
		n := node()
		n.Zone = pick(r, "", "a", "b")
		before := asJSON(t, object, slices)
		built, problems := service.Build(object, slices, n)
		if after := asJSON(t, object, slices); after != before {
			t.Errorf("the objects were\n%s\nand are\n%s", before, after)
		}
		if again, _ := service.Build(object, r.shuffle(slices), n); say(again) != say(built) {
			t.Errorf("another order gives\n%s\nnot\n%s", say(again), say(built))
		}
		for _, p := range problems {
			if p.Message == "" || p.Object.Name.Name != "web" {
				t.Errorf("problem %+v", p)
			}
		}
		consistent(t, built)
		if _, err := json.Marshal(built.Parts()); err != nil { // it does not panic
			t.Error(err)
		}
	})
}

func asJSON(t *testing.T, all ...any) string {
	t.Helper()
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// consistent holds what a Service promises in itself.
func consistent(t *testing.T, s *service.Service) {
	t.Helper()
	if s == nil {
		return
	}
	seen := map[service.FrontKey]bool{}
	for _, p := range s.Ports {
		for _, list := range [][]service.Endpoint{p.All, p.Local} {
			for i, e := range list {
				if i > 0 && list[i-1].Compare(e.AddrPort) >= 0 {
					t.Errorf("endpoints %v are not in order, or one is there twice", list)
				}
				if !slices.Contains(p.Serving, e.AddrPort) {
					t.Errorf("%s gets connections and does not serve", e)
				}
			}
		}
		for _, e := range p.Local {
			if !e.Here {
				t.Errorf("%s is not local", e)
			}
		}
		for _, f := range p.Fronts {
			key := service.FrontKey{Address: f.Address, IPv6: p.IPv6, Protocol: p.Protocol, Port: f.Port}
			if seen[key] {
				t.Errorf("%s is there twice", key)
			}
			seen[key] = true
			for _, c := range []service.Choice{f.Inside, f.Outside} {
				if c == service.ToAll && len(p.All) == 0 || c == service.ToLocal && len(p.Local) == 0 {
					t.Errorf("%s leads to nobody", key)
				}
			}
		}
	}
}
