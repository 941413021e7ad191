package link

import (
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Limit bounds what passes in one direction. The zero value is no bound.
type Limit struct {
	Rate  uint64 // bits a second
	Burst uint64 // bits that may pass at once; 0: as many as pass in 10 ms, at least 10 packets
}

// Bandwidth bounds what a pod receives and sends.
type Bandwidth struct {
	Receives, Sends Limit
}

// latency is how long a packet may wait in a queue, in microseconds. It bounds the queue.
const latency = 25_000

// limit applies the bounds to the host's end. What the pod receives, the host's end sends;
// what the pod sends goes by way of a device that can delay it.
func (b Bandwidth) limit(host netlink.Link, mtu int) error {
	if b.Receives.Rate > 0 {
		if err := b.Receives.apply(host.Attrs().Index, mtu); err != nil {
			return fmt.Errorf("limit what the pod receives: %w", err)
		}
	}
	if b.Sends.Rate > 0 {
		if err := b.Sends.delayed(host, mtu); err != nil {
			return fmt.Errorf("limit what the pod sends: %w", err)
		}
	}
	return nil
}

// apply makes a token bucket the queue of a device.
func (l Limit) apply(device, mtu int) error {
	rate := l.Rate / 8
	burst := l.Burst / 8
	if burst == 0 {
		burst = max(rate/100, 10*uint64(mtu+headroom))
	}
	burst = max(burst, uint64(mtu+headroom)) // or no packet of full size ever passes
	ticks := uint64(netlink.Xmittime(max(rate, 1), uint32(min(burst, math.MaxUint32))))
	queue := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: device, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       max(rate, 1),
		Limit:      uint32(min(rate*latency/1_000_000+burst, math.MaxUint32)),
		Buffer:     uint32(min(ticks, math.MaxUint32)),
	}
	if err := netlink.QdiscReplace(queue); err != nil {
		return fmt.Errorf("set a token bucket of %d bit/s: %w", l.Rate, err)
	}
	return nil
}

// headroom is what a packet has beside its MTU: an Ethernet header.
const headroom = 14

// delayed leads what the host's end receives to a device of its own, which sends it on at
// the rate.
func (l Limit) delayed(host netlink.Link, mtu int) error {
	name := shaperName(host.Attrs().Name)
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MTU, attributes.HardwareAddr = name, mtu, host.Attrs().HardwareAddr
	if err := netlink.LinkAdd(&netlink.Ifb{LinkAttrs: attributes}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make interface %s (does the kernel have ifb?): %w", name, err)
	}
	shaper, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(shaper); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	if err := l.apply(shaper.Attrs().Index, mtu); err != nil {
		return err
	}
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: host.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	if err := netlink.QdiscReplace(ingress); err != nil {
		return fmt.Errorf("set a queue for what interface %s receives: %w", host.Attrs().Name, err)
	}
	all := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: host.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		RedirIndex: shaper.Attrs().Index,
	}
	if err := netlink.FilterReplace(all); err != nil {
		return fmt.Errorf("lead what interface %s receives to %s: %w", host.Attrs().Name, name, err)
	}
	return nil
}
