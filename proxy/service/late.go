package service

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
)

// Names of maps.
const (
	lateAddresses = "late-addresses"
	latePorts     = "late-ports"
)

// mostLate bounds the connections whose answers are awaited.
const mostLate = 4096

// Late are the elements that let datagrams pass which answer what a connection asked before it
// was forgotten: they get the address and the port that the client called, as long as the
// elements are there. A connection that was not translated, or whose client got an address of
// this node, has none.
//
// No connection is made of it: the client's next datagram is led as that of any new client.
func Late(forgotten []conntrack.Connection) Parts {
	parts := Parts{}
	for _, f := range families() {
		parts[f] = nft.Part{}
	}
	seen := map[nft.Value]bool{}
	for _, c := range forgotten {
		client, called := c.Original, c.Reply
		if client.Protocol != unix.IPPROTO_UDP || called.Source == client.Destination ||
			called.Destination != client.Source || called.DestinationPort != client.SourcePort {
			continue
		}
		key := nft.Concat(nft.Addr(called.Source), nft.Port(called.SourcePort), nft.Addr(client.Source), nft.Port(client.SourcePort))
		if seen[key] || len(seen) == mostLate {
			continue
		}
		seen[key] = true
		f := familyOf(client.Source.Is6())
		if parts[f].Elements == nil {
			parts[f] = nft.Part{Elements: map[string][]nft.Element{}}
		}
		all := parts[f].Elements
		all[lateAddresses] = append(all[lateAddresses], nft.Element{Key: key, Value: nft.Addr(client.Destination)})
		all[latePorts] = append(all[latePorts], nft.Element{Key: key, Value: nft.Port(client.DestinationPort)})
	}
	return parts
}

func (t table) lateSets() []nft.Set {
	a := t.Address()
	answer := nft.Type{a, nft.InetService, a, nft.InetService}
	return []nft.Set{
		{Name: lateAddresses, Comment: "what forgotten connections called, by their answers", Key: answer, Value: nft.Type{a}},
		{Name: latePorts, Comment: "what forgotten connections called, by their answers", Key: answer, Value: nft.Type{nft.InetService}},
	}
}

// late is the rule for answers to connections that were forgotten.
func (t table) late() nft.Rule {
	f := t.Family
	key := []nft.Source{nft.Saddr(f), nft.Sport(), nft.Daddr(f), nft.Dport()}
	addr := nft.Words(key...)
	port := addr + nft.Words(nft.Saddr(f))
	return nft.Rule{Comment: "answers to forgotten connections", Do: nft.Do(
		nft.Is(nft.L4Proto(), nft.Proto(unix.IPPROTO_UDP)), nft.HasAny(nft.CtState(), nft.CtNew),
		nft.MapTo(lateAddresses, addr, key...), nft.Lookup{Set: latePorts, Into: nft.Destination{Kind: nft.ToRegister, To: port}},
		nft.SetSaddr(f, addr), nft.SetUDPSport(port),
	)}
}
