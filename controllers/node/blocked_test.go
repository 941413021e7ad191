package node

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
)

func TestBlockedSaysWhatToRun(t *testing.T) {
	packet := func(in, out, from string) nft.Packet {
		return nft.Packet{In: in, Out: out, From: netip.MustParseAddr(from)}
	}
	const unchanged = " What one table accepts another can drop, and Fairway changes nothing of others. "
	table := func(f nft.Family, name string) nft.TableKey { return nft.TableKey{Family: f, Name: name} }
	near := []nft.Packet{packet("fwpod", "fwneighbour", "10.244.1.2")}
	for _, test := range []struct {
		name string
		in   nft.Blocker
		want string
	}{
		{
			name: "Docker",
			in: nft.Blocker{Table: table(nft.IPv4, "filter"), Chain: "FORWARD", Lost: []nft.Packet{
				packet("fwpod", "fwneighbour", "10.244.1.2"), packet("fwpod", "eth0", "10.244.1.2"), packet("eth0", "fwpod", "10.244.2.2"),
			}},
			want: "chain FORWARD of nftables table ip filter drops IPv4 packets of pods by its policy: pods to pods, pods to eth0, eth0 to pods." + unchanged +
				"To let pods through, run on this node: iptables -I FORWARD -i fw+ -j ACCEPT; iptables -I FORWARD -o fw+ -j ACCEPT",
		},
		{
			name: "ufw, IPv6, over the overlay",
			in: nft.Blocker{Table: table(nft.IPv6, "filter"), Chain: "FORWARD", Doubtful: true, Lost: []nft.Packet{
				packet("fwpod", "fwoverlay", "fd00::2"), packet("fwoverlay", "fwpod", "fd01::2"),
			}},
			want: "chain FORWARD of nftables table ip6 filter drops IPv6 packets of pods by its policy, unless a rule that Fairway cannot judge lets them pass: " +
				"pods to fwoverlay, fwoverlay to pods." + unchanged +
				"To let pods through, run on this node: ip6tables -I FORWARD -i fw+ -j ACCEPT; ip6tables -I FORWARD -o fw+ -j ACCEPT",
		},
		{
			name: "a rule of iptables' table mangle",
			in:   nft.Blocker{Table: table(nft.IPv4, "mangle"), Chain: "FORWARD", Priority: -150, At: "FORWARD", Lost: near},
			want: "chain FORWARD of nftables table ip mangle drops IPv4 packets of pods by a rule: pods to pods." + unchanged +
				"To let pods through, run on this node: iptables -t mangle -I FORWARD -i fw+ -j ACCEPT; iptables -t mangle -I FORWARD -o fw+ -j ACCEPT",
		},
		{
			name: "a chain that iptables would not have",
			in:   nft.Blocker{Table: table(nft.IPv4, "filter"), Chain: "FORWARD", Priority: -5, Lost: near},
			want: "chain FORWARD of nftables table ip filter drops IPv4 packets of pods by its policy: pods to pods." + unchanged +
				`To let pods through, run on this node: nft insert rule ip filter FORWARD iifname "fw*" accept; nft insert rule ip filter FORWARD oifname "fw*" accept`,
		},
		{
			name: "firewalld",
			in: nft.Blocker{Table: table(nft.Inet, "firewalld"), Chain: "filter_FORWARD", Priority: 10, At: "filter_FWD_public", Lost: []nft.Packet{
				packet("eth0", "fwpod", "10.244.2.2"), packet("eth0", "fwpod", "fd01::2"),
			}},
			want: "chain filter_FORWARD of nftables table inet firewalld drops packets of pods by a rule in chain filter_FWD_public: eth0 to pods." + unchanged +
				`To let pods through, run on this node: nft insert rule inet firewalld filter_FORWARD iifname "fw*" accept; nft insert rule inet firewalld filter_FORWARD oifname "fw*" accept`,
		},
		{
			name: "many interfaces",
			in: nft.Blocker{Table: table(nft.Inet, "strict"), Chain: "forward", Lost: []nft.Packet{
				packet("eth0", "fwpod", "10.244.2.2"), packet("eth1", "fwpod", "10.244.3.2"), packet("eth2", "fwpod", "10.244.4.2"),
				packet("eth3", "fwpod", "10.244.5.2"), packet("eth4", "fwpod", "10.244.6.2"), packet("eth5", "fwpod", "10.244.7.2"),
				packet("eth6", "fwpod", "10.244.8.2"), packet("eth7", "fwpod", "10.244.9.2"),
			}},
			want: "chain forward of nftables table inet strict drops IPv4 packets of pods by its policy: eth0 to pods, eth1 to pods, eth2 to pods, eth3 to pods, " +
				"eth4 to pods, eth5 to pods, and 2 more." + unchanged +
				`To let pods through, run on this node: nft insert rule inet strict forward iifname "fw*" accept; nft insert rule inet strict forward oifname "fw*" accept`,
		},
		{
			name: "a table that others cannot change",
			in:   nft.Blocker{Table: table(nft.Inet, "firewalld"), Chain: "filter_FORWARD", Owned: true, Lost: near},
			want: "chain filter_FORWARD of nftables table inet firewalld drops IPv4 packets of pods by its policy: pods to pods." + unchanged +
				"Only the program that made the table can change it: tell it to accept what comes from, and what goes to, interfaces fw*",
		},
		{
			name: "a name that is no word",
			in:   nft.Blocker{Table: table(nft.IPv4, "filter"), Chain: "a; reboot", Lost: near},
			want: "chain a; reboot of nftables table ip filter drops IPv4 packets of pods by its policy: pods to pods." + unchanged +
				"Accept there what comes from, and what goes to, interfaces fw*",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := blocked(test.in)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if len(got) > 1000 { // an event has no more room
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}
