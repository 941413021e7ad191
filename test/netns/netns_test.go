package netns_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.77.0.0/16")) }

func TestEveryAddressOfTheNetworkIsItsOwn(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "10.77.0.1:0", "10.77.200.9:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("listen on %s: %v", address, err)
			continue
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Errorf("dial %s: %v", l.Addr(), err)
			continue
		}
		c.Close()
		l.Close()
	}
}

func TestNothingLeavesTheNamespace(t *testing.T) {
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(devices) != 1 || devices[0].Name != "lo" {
		t.Errorf("devices: %v, want lo alone", devices)
	}
	if c, err := net.Dial("tcp", "192.0.2.1:80"); err == nil {
		c.Close()
		t.Error("an address outside can be reached")
	}
}
