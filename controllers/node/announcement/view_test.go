package announcement

import (
	"net/netip"
	"testing"
)

// The interface that answers is that of the longest prefix; and of several in one network, that
// of the node's route.
func TestWhichInterfaceAnswers(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	s := &Speaker{
		links: []Link{
			{"wlan0", prefixes("192.0.2.9/24", "2001:db8::9/64")},
			{"eth0", prefixes("192.0.2.7/24", "198.51.100.7/32", "2001:db8::7/64")},
			{"eth1", prefixes("192.0.2.129/26", "203.0.113.1/24")},
		},
		direct: map[netip.Prefix]string{
			netip.MustParsePrefix("192.0.2.0/24"): "eth0", netip.MustParsePrefix("2001:db8::/64"): "gone0", netip.MustParsePrefix("203.0.113.0/24"): "wlan0",
		},
	}
	for _, test := range []struct{ name, address, want string }{
		{"two in one network: that of the route", "192.0.2.100", "eth0"},
		{"a longer prefix comes before the route", "192.0.2.130", "eth1"},
		{"the route is by an interface that is not in the network: the first that is", "2001:db8::100", "wlan0"},
		{"so it is if that one is alone", "203.0.113.100", "eth1"},
		{"an address of an interface is no network", "198.51.100.7", ""},
		{"no network", "10.0.0.1", ""},
	} {
		if got := s.device(netip.MustParseAddr(test.address)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
