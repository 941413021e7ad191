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

// HostSettings is where a container that may not write /proc/sys, which is read-only in it
// unless it is privileged, has the same files of the node.
const HostSettings = "/host/proc/sys/net"

// settingsDir is the folder of all settings of the network namespace of the calling thread.
func settingsDir() string {
	if _, err := os.Stat(HostSettings); err == nil {
		return HostSettings
	}
	return "/proc/sys/net"
}

// path of the setting of an interface. Names of interfaces have no slashes.
func (s setting) path(device string) string {
	return filepath.Join(settingsDir(), s.family, "conf", device, s.name)
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

// apply sets what differs, and returns what that was. Files that are already right are not
// written, so that a read-only /proc/sys hurts only where it must. Without IPv6 in the
// kernel there are no settings of it.
func apply(device string, settings []setting) (changed []string, _ error) {
	var wrong []error
	for _, s := range settings {
		was, err := set(s.path(device), s.value)
		if errors.Is(err, fs.ErrNotExist) && s.family == "ipv6" && withoutIPv6() {
			continue
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("set %s to %s: %w", s.key(device), s.value, err))
		} else if was != s.value {
			changed = append(changed, fmt.Sprintf("%s was %s, not %s", s.key(device), was, s.value))
		}
	}
	return changed, errors.Join(wrong...)
}

// key is the setting's name, as sysctl(8) has it.
func (s setting) key(device string) string {
	return fmt.Sprintf("net.%s.conf.%s.%s", s.family, device, s.name)
}

// withoutIPv6 reports whether the kernel has no IPv6.
func withoutIPv6() bool {
	_, err := os.Stat(filepath.Join(settingsDir(), "ipv6"))
	return errors.Is(err, fs.ErrNotExist)
}

// set writes a value into a file of /proc/sys unless it is there, and returns what was.
func set(path, value string) (was string, _ error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if was = string(bytes.TrimSpace(content)); was == value {
		return was, nil
	}
	return was, os.WriteFile(path, []byte(value), 0)
}

// Router makes the node forward packets of both families, and returns what had to be
// changed. An uplink that lives by router advertisements goes on doing so, which the kernel
// ends for routers unless its accept_ra is 2.
func Router(uplinks []string) (changed []string, err error) {
	const forwarding = "forwarding"
	all := setting{"ipv6", forwarding, "1"}
	if !withoutIPv6() {
		for _, uplink := range uplinks {
			ra := setting{"ipv6", "accept_ra", "2"}
			if value, err := os.ReadFile(ra.path(uplink)); err != nil || string(bytes.TrimSpace(value)) != "1" {
				continue // it is gone, or does not use them
			}
			more, failed := apply(uplink, []setting{ra})
			changed, err = append(changed, more...), errors.Join(err, failed)
		}
		more, failed := apply("all", []setting{all})
		changed, err = append(changed, more...), errors.Join(err, failed)
	}
	const name = "net.ipv4.ip_forward"
	was, failed := set(filepath.Join(settingsDir(), "ipv4", "ip_forward"), "1")
	if failed != nil {
		return changed, errors.Join(err, fmt.Errorf("set %s to 1: %w", name, failed))
	}
	if was != "1" {
		changed = append(changed, name+" was "+was+", not 1")
	}
	return changed, err
}

// ErrNoConntrack means that the kernel does not track connections of this network namespace
// yet. It does once a table has a chain that translates addresses.
var ErrNoConntrack = errors.New("the kernel tracks no connections")

// LiberalConntrack makes the kernel translate TCP segments that are out of the window of
// their connection as it translates all others, and returns what had to be changed. Else
// they reach the other end with addresses that it does not know, and its answer resets the
// connection.
func LiberalConntrack() (changed []string, err error) {
	const name, on = "net.netfilter.nf_conntrack_tcp_be_liberal", "1"
	was, err := set(filepath.Join(settingsDir(), "netfilter", "nf_conntrack_tcp_be_liberal"), on)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoConntrack
	case err != nil:
		return nil, fmt.Errorf("set %s to %s: %w", name, on, err)
	case was != on:
		return []string{name + " was " + was + ", not " + on}, nil
	default:
		return nil, nil
	}
}
