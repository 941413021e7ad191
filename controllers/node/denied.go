package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/nflog"
	"github.com/fairwaynet/fairway/proxy/policy"
	"github.com/fairwaynet/fairway/proxy/policy/enforce"
)

// canLog says whether the kernel can log to a group. If it cannot, it would refuse the chains that do, and
// with them what they deny.
func (a *Agent) canLog(ctx context.Context) bool {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	listener, err := nflog.Open(ctx, policy.LogGroup)
	if errors.Is(err, nflog.ErrTaken) {
		return true // by the agent before this one
	}
	if err == nil {
		err = listener.Close()
	}
	if err != nil {
		a.Log.Error(err, "denied packets are not logged: the kernel needs CONFIG_NETFILTER_NETLINK_LOG")
		return false
	}
	return true
}

// logDenied logs what policies deny until ctx ends.
func (p *Policies) logDenied(ctx context.Context) {
	p.enforcer.Listen(ctx, func(d enforce.Denial) {
		log := p.agent.Log
		if d.Cluster != "" {
			log = log.WithValues("clusterNetworkPolicy", d.Cluster)
		}
		log.Info("a policy denied a packet", "namespace", d.Pod.Namespace, "pod", d.Pod.Name, "direction", d.Direction.String(),
			"source", d.Source.String(), "destination", d.Destination.String(), "protocol", protocolName(d.Protocol), "port", d.DestinationPort)
	}, func(err error) { p.agent.Log.Error(err, "hear of denied packets") })
}

// protocolName is a protocol for people.
func protocolName(number uint8) string {
	names := map[uint8]string{
		policy.TCP: "TCP", policy.UDP: "UDP", policy.SCTP: "SCTP", unix.IPPROTO_ICMP: "ICMP", unix.IPPROTO_ICMPV6: "ICMPv6",
	}
	if name, known := names[number]; known {
		return name
	}
	return fmt.Sprint(number)
}
