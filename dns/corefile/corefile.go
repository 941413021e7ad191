// Package corefile says how CoreDNS is configured: it builds the text of CoreDNS's configuration
// from settings. It reads no file, and what it writes itself holds nothing that a user wrote: a
// user's own files are whole texts that stand beside it.
package corefile

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Settings are what the text says. The zero value of a field that is not optional is refused by
// Validate.
type Settings struct {
	// Domain is the domain of the cluster, "cluster.local".
	Domain string
	// Port is where it answers, by UDP and TCP.
	Port uint16
	// Health, Ready and Metrics are addresses to listen at, ":8080".
	Health, Ready, Metrics string
	// Lameduck is how long it goes on answering when it is told to end.
	Lameduck time.Duration
	// Upstreams answer names outside of the cluster. Without one these names fail.
	Upstreams []netip.AddrPort
	// Kubeconfig is a file. Empty means the account of the pod.
	Kubeconfig string
	// Log writes a line for each query.
	Log bool
	// Overrides are lines for the block that answers everything, Servers are blocks for zones.
	Overrides, Servers []File
}

// File is a text that a user wrote, in CoreDNS's own language.
type File struct{ Name, Text string }

// ttl is how long others may keep names of the cluster, also those that do not exist, in seconds.
const ttl = 5

// outside is how long names outside of the cluster are kept at most, in seconds.
const outside = 30

// Text is the configuration.
func Text(s Settings) string {
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		b.WriteString(strings.Repeat("    ", depth))
		fmt.Fprintf(&b, format+"\n", args...)
	}
	line(0, ".:%d {", s.Port)
	line(1, "errors")
	if s.Log {
		line(1, "log")
	}
	line(1, "health %s", s.Health)
	line(1, "ready %s {", s.Ready)
	line(2, "monitor continuously")
	line(1, "}")
	line(1, "lameduck %s", s.Lameduck)
	line(1, "prometheus %s", s.Metrics)
	line(1, "reload 10s 2s")
	line(1, "loadbalance")
	line(1, "freshness %s", strings.TrimSpace(s.zones()+" "+quoted(s.Kubeconfig)))
	// What is in memory already is not kept a second time, so that a new name is found at once.
	line(1, "cache %d {", outside)
	line(2, "disable success %s", s.zones())
	line(2, "disable denial %s", s.zones())
	line(1, "}")
	line(1, "kubernetes %s {", s.zones())
	if s.Kubeconfig != "" {
		line(2, "kubeconfig %s", quoted(s.Kubeconfig))
	}
	line(2, "pods insecure")
	line(2, "fallthrough in-addr.arpa ip6.arpa")
	line(2, "ttl %d", ttl)
	line(1, "}")
	line(1, "loopguard%s", words(s.Upstreams))
	if len(s.Upstreams) > 0 {
		line(1, "forward .%s {", words(s.Upstreams))
		line(2, "max_concurrent 1000")
		line(1, "}")
	}
	for _, file := range s.Overrides {
		line(1, "# %s", file.Name)
		b.WriteString(strings.TrimRight(file.Text, "\n") + "\n")
	}
	line(0, "}")
	for _, file := range s.Servers {
		line(0, "# %s", file.Name)
		b.WriteString(strings.TrimRight(file.Text, "\n") + "\n")
	}
	return b.String()
}

// zones are those of the cluster: its domain, and the reverse ones of both families.
func (s Settings) zones() string { return s.Domain + " in-addr.arpa ip6.arpa" }

func words(all []netip.AddrPort) string {
	var b strings.Builder
	for _, one := range all {
		b.WriteString(" " + one.String())
	}
	return b.String()
}

// quoted is one word of CoreDNS's language.
func quoted(word string) string {
	if word == "" {
		return ""
	}
	return strconv.Quote(word)
}
