package route

import (
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	netutils "k8s.io/utils/net"
)

// HostsOf returns the hosts that ing concerns, sorted and unique: the hosts of
// its rules, and AnyHost for rules without host and for a default backend.
// Invalid hosts are left out. It is never empty: an Ingress without a valid host
// concerns AnyHost, so that its Problems have a key.
func HostsOf(ing *networkingv1.Ingress) []Hostname {
	var hosts []Hostname
	if ing.Spec.DefaultBackend != nil {
		hosts = append(hosts, AnyHost)
	}
	for i := range ing.Spec.Rules {
		if host, wrong := hostnameOf(ing.Spec.Rules[i].Host); wrong == "" {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return []Hostname{AnyHost}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// firstHostOf is HostsOf(ing)[0], without building the rest. The key of that host reports
// the faults of the Ingress as a whole, so that they are reported once and not once for
// each host.
func firstHostOf(ing *networkingv1.Ingress) Hostname {
	if ing.Spec.DefaultBackend != nil {
		return AnyHost
	}
	first := Hostname("")
	for i := range ing.Spec.Rules {
		raw := ing.Spec.Rules[i].Host
		if raw == "" {
			return AnyHost
		}
		if first != "" && raw >= string(first) {
			continue
		}
		if host, wrong := hostnameOf(raw); wrong == "" {
			first = host
		}
	}
	if first == "" {
		return AnyHost
	}
	return first
}

// isNamedBy reports whether a rule is about the host. A valid host has one
// spelling, so that comparing is enough.
func (h Hostname) isNamedBy(rule *networkingv1.IngressRule) bool {
	if h == AnyHost {
		return rule.Host == ""
	}
	return rule.Host == string(h)
}

// hostnameOf reads the host of a rule as the Kubernetes API validates it, and tells
// people what is wrong with an invalid one.
func hostnameOf(raw string) (host Hostname, wrong string) {
	switch {
	case raw == "":
		return AnyHost, ""
	case raw == "*":
		return "", "leave the host out to serve every host"
	case netutils.ParseIPSloppy(strings.Trim(raw, "[]")) != nil:
		return "", "an IP address is not a DNS name; leave the host out to serve requests by address"
	case strings.Contains(raw, "*"):
		// As validation.IsWildcardDNS1123Subdomain, which compiles a regular
		// expression at each call.
		parent, found := strings.CutPrefix(raw, "*.")
		if !found || len(raw) > validation.DNS1123SubdomainMaxLength || len(validation.IsDNS1123Subdomain(parent)) > 0 {
			return "", `a wildcard is "*." and a DNS name in lower case, and stands for exactly one label`
		}
	case len(validation.IsDNS1123Subdomain(raw)) > 0:
		return "", hintForName(raw)
	}
	return Hostname(raw), ""
}

// hintForName tells people how to write a host that is no DNS name, by a guess at
// what was meant.
func hintForName(raw string) string {
	isASCII := !strings.ContainsFunc(raw, func(r rune) bool { return r > 0x7f })
	switch {
	case !isASCII:
		return "write an international name in its ASCII form (xn--…)"
	case strings.ToLower(raw) != raw:
		return "write it in lower case; requests match in any case"
	case strings.HasSuffix(raw, "."):
		return "write it without the trailing dot; requests match with and without"
	case strings.Contains(raw, ":"):
		return "write it without scheme and port; requests match on every port"
	default:
		return "it is not a DNS name"
	}
}
