package link_test

import (
	"os"
	"testing"

	"github.com/fairwaynet/fairway/cni/link"
)

// The kernel gives ports of the range to programs, but for those that are reserved.
func TestEphemeralPorts(t *testing.T) {
	for _, test := range []struct {
		local, reserved string
		given, not      []uint16
	}{
		{"32768 60999", "", []uint16{32768, 60999}, []uint16{30080, 61000}},
		{"20000 60999", "\n", []uint16{30080}, []uint16{19999}},
		{"20000 60999", "30000-32767,40000", []uint16{29999, 32768, 40001}, []uint16{30000, 30080, 32767, 40000}},
	} {
		for name, value := range map[string]string{"ip_local_port_range": test.local, "ip_local_reserved_ports": test.reserved} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		ports, err := link.Ephemeral()
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range test.given {
			if !ports.Contains(port) {
				t.Errorf("%q without %q: %d is not among %+v", test.local, test.reserved, port, ports)
			}
		}
		for _, port := range test.not {
			if ports.Contains(port) {
				t.Errorf("%q without %q: %d is among %+v", test.local, test.reserved, port, ports)
			}
		}
	}
}
