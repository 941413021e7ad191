package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// Service is what one Service is on one node.
type Service struct {
	Name types.NamespacedName
	// Created is when the object was made, in the order of which Services get addresses that
	// several of them want.
	Created time.Time
	// Triggered is when the last change of its endpoints began, with a pod for example, as far
	// as EndpointSlices say so; zero: none does.
	Triggered time.Time
	// Ports are one for each port and family, in the order of the object.
	Ports  []Port
	Health Health
}

// Health is what load balancers are told that ask whether this node has endpoints. Without a
// port nobody is told.
type Health struct {
	Port uint16
	// Local is the number of ready endpoints on this node, by address. Those that are leaving
	// do not count: the load balancer is to send elsewhere while they still answer.
	Local int
}

// Port is one port of a Service in one family.
type Port struct {
	Name     string
	Protocol uint8 // unix.IPPROTO_TCP, …UDP or …SCTP
	IPv6     bool
	// Fronts are where the port is reached.
	Fronts []Front
	// All and Local are the endpoints that connections are given to: everybody's, and those
	// of this node. They are in order, and may overlap.
	All, Local []Endpoint
	// Serving are all endpoints that answer, also those that get no new connections: open
	// connections to them stay.
	Serving []netip.AddrPort
	// Affinity is how long a client is given to the same endpoint; zero: not at all.
	Affinity time.Duration
}

// Endpoint is an endpoint of a port.
type Endpoint struct {
	netip.AddrPort

	// Here says that it is on this node.
	Here bool
}

func (e Endpoint) compare(other Endpoint) int {
	return cmp.Or(e.Addr().Compare(other.Addr()), cmp.Compare(e.Port(), other.Port()))
}

// Front is an address and port at which a Service port is reached.
type Front struct {
	// ClusterIP says that the address is the Service's in the cluster. Its other ports refuse.
	ClusterIP bool
	// Address is the zero value for a NodePort: then it is each address of the node that
	// serves node ports.
	Address netip.Addr
	Port    uint16
	// Inside is for connections of pods and of this node, Outside for all others.
	Inside, Outside Choice
	// Masquerade says whose connections get an address of this node as their source.
	Masquerade Masquerade
	// Sources may connect; nil: everybody may.
	Sources []netip.Prefix
}

// Choice is what happens to a new connection.
type Choice uint8

// The choices.
const (
	// Refuse tells the client that nobody is there.
	Refuse Choice = iota
	// Drop is silence: another node may have an endpoint.
	Drop
	// ToAll gives it to one of Port.All.
	ToAll
	// ToLocal gives it to one of Port.Local.
	ToLocal
)

// Masquerade says which connections to a front get a source address of this node.
type Masquerade uint8

// The masquerades.
const (
	// OfNode is for this node's own: an address at which it calls may not be the one that the
	// endpoint can answer.
	OfNode Masquerade = iota
	// OfAllButPods is also for what comes from outside: the endpoint may be on another node,
	// and its answer must come back here.
	OfAllButPods
)

// leads says whether some connections get that choice.
func (f Front) leads(to Choice) bool { return f.Inside == to || f.Outside == to }

// FrontKey identifies a front on a node.
type FrontKey struct {
	Address  netip.Addr // the zero value for a NodePort
	IPv6     bool
	Protocol uint8
	Port     uint16
}

// String is "192.0.2.1:80/tcp".
func (k FrontKey) String() string {
	protocol := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[k.Protocol]
	if !k.Address.IsValid() {
		return fmt.Sprintf("node port %d/%s", k.Port, protocol)
	}
	return netip.AddrPortFrom(k.Address, k.Port).String() + "/" + protocol
}

func (p Port) key(f Front) FrontKey { return FrontKey{f.Address, p.IPv6, p.Protocol, f.Port} }
