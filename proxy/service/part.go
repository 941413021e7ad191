package service

import (
	"net/netip"
	"slices"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// Parts are what one key wants in the tables, by family.
type Parts map[nft.Family]nft.Part

// Parts returns the elements of a Service. A family without any has an empty part; that is
// also what nil has: a Service that is gone.
func (s *Service) Parts() Parts {
	parts := Parts{}
	for _, f := range families() {
		w := writer{table: table{Family: f}, elements: map[string][]nft.Element{}, chains: map[string]nft.Chain{}}
		if s != nil {
			for _, p := range s.Ports {
				if familyOf(p.IPv6) == f {
					w.port(p)
				}
			}
		}
		parts[f] = w.part()
	}
	return parts
}

// writer gathers the elements of one family.
type writer struct {
	table

	elements map[string][]nft.Element
	chains   map[string]nft.Chain
	order    []string // of chains
	seen     map[nft.Value]bool
}

func (w *writer) part() nft.Part {
	for set, elements := range w.elements {
		w.elements[set] = append(make([]nft.Element, 0, len(elements)), elements...) // they stay as long as the Service
	}
	part := nft.Part{Elements: w.elements}
	for _, name := range w.order {
		part.Chains = append(part.Chains, w.chains[name])
	}
	return part
}

func (w *writer) add(set string, e nft.Element) { w.elements[set] = append(w.elements[set], e) }

// once adds what several ports of the Service have in common.
func (w *writer) once(set string, key nft.Value) {
	id := nft.Value(set) + key
	if !w.seen[id] {
		if w.seen == nil {
			w.seen = map[nft.Value]bool{}
		}
		w.seen[id] = true
		w.add(set, nft.Element{Key: key})
	}
}

func (w *writer) port(p Port) {
	for _, front := range p.Fronts {
		w.front(p, front)
	}
	for _, list := range [][]Endpoint{p.All, p.Local} {
		for _, e := range list {
			if e.Here {
				w.once(hairpin, nft.Concat(nft.Addr(e.Addr()), nft.Addr(e.Addr())))
			}
		}
	}
}

// front adds the elements of a front.
func (w *writer) front(p Port, front Front) {
	nodePort := !front.Address.IsValid()
	to := unspecified(w.Family)
	if !nodePort {
		to = nft.Addr(front.Address)
	}
	if front.ClusterIP {
		w.once(clusterIPSet, to)
	}
	key := nft.Concat(to, nft.Proto(p.Protocol), nft.Port(front.Port))
	if front.leads(ToAll) {
		w.slots(p, front.Port, key, p.All, false)
	}
	if front.leads(ToLocal) {
		w.slots(p, front.Port, key, p.Local, true)
	}
	in, out := w.way(p, front.Inside, nodePort), w.way(p, front.Outside, nodePort)
	from := ways
	if front.Sources != nil || in != out {
		from = ends
	}
	for _, c := range []Choice{front.Inside, front.Outside} {
		w.leads(from, p, c, nodePort)
	}
	switch {
	case front.Sources != nil:
		w.add(services, nft.Element{Key: key, Value: leadsTo(fixed(guarded, nodePort))})
		for _, source := range front.Sources {
			w.add(allowed, nft.Prefix(source, to, nft.Proto(p.Protocol), nft.Port(front.Port)))
		}
	case in != out:
		w.add(services, nft.Element{Key: key, Value: leadsTo(fixed(bySource, nodePort))})
	default:
		w.add(services, nft.Element{Key: key, Value: leadsTo(in)})
	}
	if front.Sources != nil || in != out {
		w.add(inside, nft.Element{Key: key, Value: leadsTo(in)})
		w.add(outside, nft.Element{Key: key, Value: leadsTo(out)})
	}
	if front.Masquerade == OfAllButPods {
		w.add(masquerade, nft.Element{Key: key})
	} else {
		w.add(ofNode, nft.Element{Key: key})
	}
}

// chosen is the pick of a choice that leads to endpoints.
func (p Port) chosen(c Choice, nodePort bool) pick {
	list := p.All
	if c == ToLocal {
		list = p.Local
	}
	return pick{uint32(len(list)), c == ToLocal, nodePort, p.Affinity} //nolint:gosec // bounded by Build
}

// way is what a choice is in a map.
func (w *writer) way(p Port, c Choice, nodePort bool) nft.Value {
	switch c {
	case Refuse:
		return fixed(refuse, false)
	case Drop:
		return fixed(drop, false)
	default:
		return p.chosen(c, nodePort).way()
	}
}

// leads adds the chain of a choice, and the way to it in a map of verdicts.
func (w *writer) leads(from string, p Port, c Choice, nodePort bool) {
	if c == Refuse || c == Drop {
		return // every table has these
	}
	chosen := p.chosen(c, nodePort)
	if name := chosen.name(); w.chains[name].Name == "" {
		w.chains[name] = w.chain(chosen)
		w.order = append(w.order, name)
	}
	w.verdict(from, nft.Element{Key: chosen.way(), Verdict: nft.Goto(chosen.name())})
}

// leadsTo is a way as the value of a map: behind a port, which is read over.
func leadsTo(way nft.Value) nft.Value { return nft.Concat(nft.Port(0), way) }

// verdict adds an element once.
func (w *writer) verdict(to string, e nft.Element) {
	if !slices.ContainsFunc(w.elements[to], func(x nft.Element) bool { return x.Key == e.Key }) { // a few
		w.add(to, e)
	}
}

// slots adds the endpoints of a front by number.
func (w *writer) slots(p Port, port uint16, key nft.Value, list []Endpoint, local bool) {
	chosen := pick{local: local}
	for i, e := range list {
		slot := nft.Number(uint32(i) + chosen.offset()) //nolint:gosec // bounded by Build
		at := nft.Concat(nft.Addr(e.Addr()), nft.Port(e.Port()))
		w.add(endpoints, nft.Element{Key: key + slot, Value: at})
		if p.Affinity > 0 {
			w.add(sticky, nft.Element{Key: slot + key, Value: nft.Concat(nft.Port(port)) + at})
			w.add(chosen.members(), nft.Element{Key: key + at})
		}
	}
}

// Balancers are the ranges of load balancers' addresses, with both ends.
type Balancers [][2]netip.Addr

// Cluster is what the tables must know of the cluster and the node.
type Cluster struct {
	// Services are the ranges of cluster IPs, Pods those of pods.
	Services, Pods []netip.Prefix
	// LocalPods are the ranges of this node's pods, if they are known. A packet of another node's pod
	// to a NodePort or a load balancer of this node is one from outside: its answer would not come
	// back by this node.
	LocalPods []netip.Prefix
	// NodePorts are the networks of the node's addresses at which node ports answer.
	NodePorts []netip.Prefix
	// NodeAddresses are those addresses.
	NodeAddresses []netip.Addr
	// Balancers are told apart from the rest.
	Balancers Balancers
	// Leaving says that the node is about to go: load balancers are told to send it nothing.
	Leaving bool
}

// insiders are the pods that call from inside.
func (c Cluster) insiders() []netip.Prefix {
	if len(c.LocalPods) > 0 {
		return c.LocalPods
	}
	return c.Pods
}

// Parts returns the elements of the cluster.
func (c Cluster) Parts() Parts {
	parts := Parts{}
	for _, f := range families() {
		elements := map[string][]nft.Element{ways: fixedWays(), ends: fixedWays()[:2]}
		for set, networks := range map[string][]netip.Prefix{
			ranges: c.Services, pods: c.Pods, localPods: c.LocalPods, insiders: c.insiders(), nodePorts: c.NodePorts,
		} {
			for _, network := range networks {
				if familyOf(network.Addr().Is6()) == f {
					elements[set] = append(elements[set], nft.Prefix(network))
				}
			}
		}
		for _, r := range c.Balancers {
			if familyOf(r[0].Is6()) == f {
				elements[balancers] = append(elements[balancers], nft.Element{Key: nft.Addr(r[0]), End: nft.Addr(r[1])})
			}
		}
		parts[f] = nft.Part{Elements: elements}
	}
	return parts
}
