package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/proxy/service"
)

// Reasons of Problems of NodePorts.
const (
	// ReasonNodePortShadowed says that a program of the node listens at a NodePort: the Service
	// gets what was meant for it.
	ReasonNodePortShadowed problem.Reason = "NodePortShadowed"
	// ReasonEphemeralPorts says that the node gives NodePorts to programs that ask for any port.
	ReasonEphemeralPorts problem.Reason = "NodePortsEphemeral"
)

// How often sockets are looked at: usually, and at most, however fast NodePorts change.
const (
	portInterval = time.Minute
	portRest     = 3 * time.Second
)

// briefly is how long a client waits for the answer to a datagram.
const briefly = 30 * time.Second

// nodePorts knows which Service has each NodePort, and where NodePorts answer.
type nodePorts interface {
	NodePorts() (map[service.FrontKey]types.NamespacedName, []netip.Prefix)
}

// portWatch tells of programs of the node that listen at NodePorts.
type portWatch struct {
	agent     *Agent
	nodePorts nodePorts
	now       func() time.Time
	woken     chan struct{}

	looked map[service.FrontKey]types.NamespacedName // the NodePorts of the last look
	told   map[types.NamespacedName]bool             // Services with a Problem
	seen   map[uint32]time.Time                      // sockets of UDP at NodePorts, by inode: since when
	names  map[uint32]string                         // programs of sockets
	failed bool
}

// Keys of the reporter.
type (
	shadowKey    struct{ types.NamespacedName } // who listens at NodePorts of a Service
	ephemeralKey struct{}                       // who may listen there
)

func newPortWatch(a *Agent, ports nodePorts) *portWatch {
	return &portWatch{
		agent: a, nodePorts: ports, now: time.Now, woken: make(chan struct{}, 1), told: map[types.NamespacedName]bool{},
	}
}

// wake says that NodePorts may have changed.
func (w *portWatch) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (w *portWatch) run(ctx context.Context) error {
	ticker := time.NewTicker(portInterval)
	defer ticker.Stop()
	for {
		due := false
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			due = true
		case <-w.woken:
		}
		ports, at := w.nodePorts.NodePorts()
		if due || !maps.Equal(ports, w.looked) {
			w.look(ctx, ports, at)
		}
		select {
		case <-ctx.Done():
		case <-time.After(portRest):
		}
	}
}

// look tells what is so now. Nothing is read where no Service has a NodePort.
func (w *portWatch) look(ctx context.Context, ports map[service.FrontKey]types.NamespacedName, at []netip.Prefix) {
	w.looked = ports
	var sockets []link.Listener
	var ephemeral link.EphemeralPorts
	if len(ports) > 0 {
		var err error
		if ephemeral, err = link.Ephemeral(); err == nil {
			sockets, err = link.Listeners()
		}
		if err != nil {
			if !w.failed && ctx.Err() == nil {
				w.failed = true
				w.agent.Log.Error(err, "look for programs that listen at node ports")
			}
			return
		}
	}
	w.failed = false
	w.agent.Reporter.Report(ctx, ephemeralKey{}, w.ephemeral(ephemeral, ports))
	found := shadowed(ports, at, w.lasting(sockets, ports))
	w.name(found)
	for name := range w.told {
		if len(found[name]) == 0 {
			w.agent.Reporter.Report(ctx, shadowKey{name}, nil)
			delete(w.told, name)
		}
	}
	for name, listeners := range found {
		w.agent.Reporter.Report(ctx, shadowKey{name}, []problem.Problem{of(name, ReasonNodePortShadowed, w.message(listeners))})
		w.told[name] = true
	}
}

// lasting leaves out sockets of UDP that are there only briefly: a client that asks and waits
// for its answer has one that looks the same.
func (w *portWatch) lasting(sockets []link.Listener, ports map[service.FrontKey]types.NamespacedName) []link.Listener {
	numbers := map[uint16]bool{}
	for key := range ports {
		numbers[key.Port] = true
	}
	now, before := w.now(), w.seen
	w.seen = map[uint32]time.Time{}
	return slices.DeleteFunc(sockets, func(l link.Listener) bool {
		if l.Protocol != unix.IPPROTO_UDP || !numbers[l.At.Port()] {
			return false
		}
		since, known := before[l.Inode]
		if !known {
			since = now
		}
		w.seen[l.Inode] = since
		return now.Sub(since) < briefly
	})
}

// shadowed are the sockets that nobody outside reaches, because a Service has their address
// and port as its NodePort.
func shadowed(
	ports map[service.FrontKey]types.NamespacedName, at []netip.Prefix, sockets []link.Listener,
) map[types.NamespacedName][]link.Listener {
	found := map[types.NamespacedName][]link.Listener{}
	for _, l := range sockets {
		for _, ipv6 := range []bool{false, true} {
			name, has := ports[service.FrontKey{IPv6: ipv6, Protocol: l.Protocol, Port: l.At.Port()}]
			if has && meets(l, ipv6, at) && !slices.Contains(found[name], l) {
				found[name] = append(found[name], l)
			}
		}
	}
	return found
}

// meets says whether a socket waits, in a family, at an address at which NodePorts answer.
// At the node itself they never do.
func meets(l link.Listener, ipv6 bool, at []netip.Prefix) bool {
	a := l.At.Addr()
	if a.Is6() != ipv6 && !l.Both || a.IsLoopback() {
		return false
	}
	return slices.ContainsFunc(at, func(network netip.Prefix) bool {
		return network.Addr().Is6() == ipv6 && (a.IsUnspecified() || network.Contains(a))
	})
}

// name finds the programs of sockets, once for each socket.
func (w *portWatch) name(found map[types.NamespacedName][]link.Listener) {
	names := map[uint32]string{}
	var unknown []uint32
	for _, listeners := range found {
		for _, l := range listeners {
			name, known := w.names[l.Inode]
			names[l.Inode] = name
			if !known {
				unknown = append(unknown, l.Inode)
			}
		}
	}
	if len(unknown) > 0 {
		maps.Copy(names, link.Programs(unknown...))
	}
	w.names = names
}

// message names the sockets in an order of their own, so that the same is one Problem.
func (w *portWatch) message(listeners []link.Listener) string {
	slices.SortFunc(listeners, func(a, b link.Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.At.Compare(b.At), cmp.Compare(a.Inode, b.Inode))
	})
	var listening []string
	for _, l := range listeners {
		program := cmp.Or(w.names[l.Inode], "a program")
		protocol := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[l.Protocol]
		if text := fmt.Sprintf("%s listens at %s/%s", program, l.At, protocol); !slices.Contains(listening, text) {
			listening = append(listening, text)
		}
	}
	return fmt.Sprintf("on node %s %s, where this Service has its node port: what others send there goes to the Service. "+
		"Give one of them another port; ss -lntup names programs", w.agent.Name, strings.Join(listening, ", and "))
}

// ephemeral says that programs may get NodePorts by chance.
func (w *portWatch) ephemeral(ephemeral link.EphemeralPorts, ports map[service.FrontKey]types.NamespacedName) []problem.Problem {
	for key := range ports {
		if ephemeral.Contains(key.Port) {
			return []problem.Problem{w.agent.problem(ReasonEphemeralPorts, fmt.Sprintf(
				"the kernel gives programs ports %s (net.ipv4.ip_local_port_range), and Services have some of them as node ports: "+
					"what listens at a port that it got so can be shadowed. Put the cluster's node ports into net.ipv4.ip_local_reserved_ports", ephemeral.PortRange))}
		}
	}
	return nil
}
