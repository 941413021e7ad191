package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// setting is a value of an interface's settings.
type setting struct {
	family, name, value string // "ipv4", "rp_filter", "0"
}

// path of the setting of an interface. Names of interfaces have no slashes.
func (s setting) path(device string) string {
	return filepath.Join("/proc/sys/net", s.family, "conf", device, s.name)
}

// podSettings are those of the pod's end.
func podSettings() []setting {
	return []setting{
		{"ipv6", "disable_ipv6", "0"}, // some runtimes switch IPv6 off in new namespaces
		{"ipv6", "accept_ra", "0"},
		{"ipv6", "accept_redirects", "0"},
		{"ipv6", "accept_dad", "0"}, // nobody else is on the wire, and a pod must not wait
		{"ipv6", "dad_transmits", "0"},
		{"ipv6", "router_solicitations", "0"},
		{"ipv4", "accept_redirects", "0"},
	}
}

// hostSettings are those of the host's end.
func hostSettings() []setting {
	return []setting{
		{"ipv4", "forwarding", "1"},
		{"ipv4", "accept_redirects", "0"},
		{"ipv4", "send_redirects", "0"},
		{"ipv4", "accept_source_route", "0"},
		{"ipv6", "disable_ipv6", "0"},
		{"ipv6", "forwarding", "1"},
		{"ipv6", "accept_ra", "0"}, // also with forwarding: a pod is no router
		{"ipv6", "accept_redirects", "0"},
		{"ipv6", "accept_dad", "0"},
	}
}

// noLinkLocal keeps the kernel from giving an interface a link-local IPv6 address when it
// comes up. A wire needs none, because the entries of both ends are permanent. With one, the
// kernel takes twice as long to remove the wire: it frees the route of that address only
// after a second grace period.
func noLinkLocal() setting { return setting{"ipv6", "addr_gen_mode", "1"} }

// apply sets what differs: files that are already right are not written, so that a
// read-only /proc/sys hurts only where it must. Without IPv6 in the kernel there are no
// settings of it.
func apply(device string, settings []setting) error {
	var wrong []error
	for _, s := range settings {
		if err := s.set(device); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

func (s setting) set(device string) error {
	path := s.path(device)
	value, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && s.family == "ipv6" {
		if _, err := os.Stat("/proc/sys/net/ipv6"); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err == nil && string(bytes.TrimSpace(value)) == s.value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(path, []byte(s.value), 0)
	}
	if err != nil {
		return fmt.Errorf("set net.%s.conf.%s.%s to %s: %w", s.family, device, s.name, s.value, err)
	}
	return nil
}
