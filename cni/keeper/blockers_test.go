package keeper

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/cni/link"
)

// One packet stands for all that come by the same interfaces.
func TestPacketsThatTheNodeMustForward(t *testing.T) {
	prefix := netip.MustParsePrefix
	peer := func(pods, node, overlay string) link.PeerRoute {
		return link.PeerRoute{Range: prefix(pods), Node: netip.MustParseAddr(node), Overlay: overlay}
	}
	wanted := Wanted{
		Ranges: []netip.Prefix{prefix("10.244.1.0/24"), prefix("fd00:1::/64")},
		Routes: []link.PeerRoute{
			peer("10.244.2.0/24", "192.0.2.2", ""), peer("10.244.3.0/24", "192.0.2.3", ""),
			peer("10.244.4.0/24", "198.51.100.4", "fwoverlay"), peer("10.244.5.0/32", "203.0.113.5", ""),
			peer("10.244.6.0/32", "198.18.0.6", ""), peer("fd00:2::/64", "2001:db8::2", ""),
		},
	}
	interfaces := []link.Interface{
		{Name: "eth0", Networks: []netip.Prefix{prefix("192.0.2.1/24"), prefix("2001:db8::1/64")}},
		{Name: "eth1", Networks: []netip.Prefix{prefix("198.18.0.1/15")}},
	}
	got := []string{}
	for _, p := range crossing(wanted, interfaces) {
		got = append(got, fmt.Sprintf("%s %s > %s %s", p.In, p.From, p.Out, p.To))
	}
	want := []string{
		"fwpod 10.244.1.2 > fwneighbour 10.244.1.3",
		"fwpod 10.244.1.2 > eth0 10.244.2.2",
		"eth0 10.244.2.2 > fwpod 10.244.1.2",
		"fwpod 10.244.1.2 > fwoverlay 10.244.4.2",
		"fwoverlay 10.244.4.2 > fwpod 10.244.1.2",
		"fwpod 10.244.1.2 > eth1 10.244.6.0",
		"eth1 10.244.6.0 > fwpod 10.244.1.2",
		"fwpod fd00:1::2 > fwneighbour fd00:1::3",
		"fwpod fd00:1::2 > eth0 fd00:2::2",
		"eth0 fd00:2::2 > fwpod fd00:1::2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}
