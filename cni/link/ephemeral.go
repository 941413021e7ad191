package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// PortRange is a range of ports, with both ends.
type PortRange struct{ First, Last uint16 }

// String is "30000 to 32767".
func (r PortRange) String() string { return fmt.Sprintf("%d to %d", r.First, r.Last) }

// Contains says whether a port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// EphemeralPorts are the ports that the kernel gives to sockets that ask for none, of both
// families.
type EphemeralPorts struct {
	PortRange // net.ipv4.ip_local_port_range

	Reserved []PortRange // net.ipv4.ip_local_reserved_ports: not these
}

// Contains says whether the kernel may give a port.
func (e EphemeralPorts) Contains(port uint16) bool {
	for _, r := range e.Reserved {
		if r.Contains(port) {
			return false
		}
	}
	return e.PortRange.Contains(port)
}

// Ephemeral reads the ephemeral ports of the node.
func Ephemeral() (EphemeralPorts, error) {
	var ports EphemeralPorts
	local, err := os.ReadFile(filepath.Join(settingsDir(), "ipv4", "ip_local_port_range"))
	if err != nil {
		return ports, fmt.Errorf("read the ephemeral ports: %w", err)
	}
	reserved, err := os.ReadFile(filepath.Join(settingsDir(), "ipv4", "ip_local_reserved_ports"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ports, fmt.Errorf("read the reserved ports: %w", err)
	}
	if ports.PortRange, err = portRange(strings.Join(strings.Fields(string(local)), "-")); err != nil {
		return ports, fmt.Errorf("read the ephemeral ports: %w", err)
	}
	for text := range strings.SplitSeq(strings.TrimSpace(string(reserved)), ",") {
		if text == "" {
			continue
		}
		r, err := portRange(text)
		if err != nil {
			return ports, fmt.Errorf("read the reserved ports: %w", err)
		}
		ports.Reserved = append(ports.Reserved, r)
	}
	return ports, nil
}

// portRange reads "30000-32767" or "30000".
func portRange(text string) (PortRange, error) {
	const bits = 16
	low, high, two := strings.Cut(text, "-")
	if !two {
		high = low
	}
	first, err := strconv.ParseUint(low, 10, bits)
	if err != nil {
		return PortRange{}, err
	}
	last, err := strconv.ParseUint(high, 10, bits)
	return PortRange{uint16(first), uint16(last)}, err
}
