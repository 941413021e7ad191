package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"

	"github.com/coredns/caddy"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/dns/corefile"
	"github.com/fairwaynet/fairway/dns/loopguard"
	"github.com/fairwaynet/fairway/dns/report"
	"github.com/fairwaynet/fairway/dns/zones"
)

const serverType = "dns"

// loader gives CoreDNS its configuration, at the start and each time that CoreDNS looks whether it
// has changed.
type loader struct {
	options options
	events  report.Events
	check   func(text string) error
	refused prometheus.Gauge

	mu     sync.Mutex
	base   corefile.Settings // without files of people
	read   [sha256.Size]byte // what was read last
	chosen corefile.Settings // and what of it is used
}

func newLoader(options options, events report.Events) (*loader, error) {
	l := &loader{options: options, events: events, base: options.settings, check: zones.By("/proc/self/exe", "--check")}
	l.refused = prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_dns_files_refused", Help: "How many files of the zones are left out, because CoreDNS would not start with them."})
	prometheus.MustRegister(l.refused)
	if len(l.base.Upstreams) == 0 {
		found, err := resolvers(options.resolvConf)
		if err != nil {
			return nil, err
		}
		l.base.Upstreams = found
	}
	l.base.Upstreams = l.outside(l.base.Upstreams)
	l.chosen = l.base
	return l, nil
}

// resolvers are the servers that a resolv.conf names. A file that is not there names none.
func resolvers(path string) ([]netip.AddrPort, error) {
	config, err := dns.ClientConfigFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var found []netip.AddrPort
	for _, server := range config.Servers {
		upstream, err := corefile.ParseUpstream(server)
		if err != nil {
			clog.Warningf("%s: %v", path, err)
			continue
		}
		found = append(found, upstream)
	}
	return found, nil
}

// outside leaves out upstreams that are this server: loopback addresses are those of its own pod.
func (l *loader) outside(all []netip.AddrPort) []netip.AddrPort {
	var good []netip.AddrPort
	for _, one := range all {
		address := one.Addr().Unmap()
		own := address.IsLoopback() || address.IsUnspecified() || slices.Contains(l.options.addresses, address.WithZone(""))
		if !own || one.Port() != 53 && one.Port() != l.options.settings.Port { // tests have their servers at 127.0.0.1
			good = append(good, one)
			continue
		}
		l.events.Warn("UpstreamLoop", fmt.Sprintf("%s is named as a server for names outside of the cluster and is the cluster's DNS itself, so it is not asked. %s", address, loopguard.Advice))
	}
	if len(good) == 0 {
		l.events.Warn("NoUpstream", "No server for names outside of the cluster is known, so they are not found (SERVFAIL). Names of the cluster are. "+loopguard.Advice)
	}
	return good
}

// Load implements caddy.Loader.
func (l *loader) Load(string) (caddy.Input, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.options.zones == "" {
		return input(l.base), nil
	}
	overrides, servers, err := zones.Read(l.options.zones)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(fmt.Appendf(nil, "%q", []any{overrides, servers}))
	if hash == l.read {
		return input(l.chosen), nil
	}
	chosen, problems := zones.Choose(l.base, overrides, servers, l.check)
	l.read, l.chosen = hash, chosen
	l.refused.Set(float64(len(problems)))
	for _, problem := range problems {
		l.events.Warn("ZoneRefused", "Left out: "+problem.String())
	}
	return input(chosen), nil
}

// hasFiles says whether files of people are used.
func (l *loader) hasFiles() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.chosen.Overrides)+len(l.chosen.Servers) > 0
}

// plain is the configuration without files of people.
func (l *loader) plain() caddy.Input { return input(l.base) }

func input(settings corefile.Settings) caddy.Input {
	return caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(corefile.Text(settings)), ServerTypeName: serverType}
}
