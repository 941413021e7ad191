package corefile

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// domain is a name of RFC 1035 without a dot at its end.
var domain = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)

// Validate says which settings cannot work. None of those that it accepts can end a word or a
// line of the text.
func (s Settings) Validate() error {
	var wrong []error
	if !domain.MatchString(s.Domain) || len(s.Domain) > 200 {
		wrong = append(wrong, fmt.Errorf("domain %q: it is no domain such as cluster.local", s.Domain))
	}
	if s.Port == 0 {
		wrong = append(wrong, errors.New("port 0: it is none"))
	}
	if s.Lameduck < 0 {
		wrong = append(wrong, fmt.Errorf("lameduck %s: it cannot be negative", s.Lameduck))
	}
	for name, address := range map[string]string{"health": s.Health, "ready": s.Ready, "metrics": s.Metrics} {
		if _, err := netip.ParseAddrPort(address); err != nil && !regexp.MustCompile(`^:[0-9]{1,5}$`).MatchString(address) {
			wrong = append(wrong, fmt.Errorf("%s %q: it is no address to listen at, such as :8080", name, address))
		}
	}
	for _, upstream := range s.Upstreams {
		if !upstream.IsValid() {
			wrong = append(wrong, fmt.Errorf("upstream %s: it is no address", upstream))
		}
	}
	if strings.ContainsAny(s.Kubeconfig, "\"\\\n\r{}") {
		wrong = append(wrong, fmt.Errorf("kubeconfig %q: this path is not supported", s.Kubeconfig))
	}
	return errors.Join(wrong...)
}

// ParseUpstream reads the address of a DNS server, with port 53 if it names none.
func ParseUpstream(text string) (netip.AddrPort, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(address, 53), nil
	}
	upstream, err := netip.ParseAddrPort(text)
	if err != nil || upstream.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("upstream %q: it is no address such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53", text)
	}
	return upstream, nil
}
