package route

import (
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// LocalPrefixes are the addresses that mean the connecting machine itself, or a service
// that a cloud offers to that machine alone: loopback, link-local, unspecified and
// multicast addresses, and the metadata services that give a machine its credentials.
// They are sorted. Those of IPv4 are there also in the forms in which IPv6 carries them.
//
// Through them the author of an Ingress or a Service would reach the ports of the
// gateway's own pod and node, with the gateway's identity.
func LocalPrefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range localIPv4 {
		plain := netip.MustParsePrefix(text)
		all = append(all, plain)
		for _, carrier := range carriers {
			all = append(all, carried(plain, carrier))
		}
	}
	for _, text := range localIPv6 {
		all = append(all, netip.MustParsePrefix(text))
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

var localIPv4 = []string{
	"0.0.0.0/8",   // "this host" (RFC 791): Linux connects to itself
	"127.0.0.0/8", // loopback
	"169.254.0.0/16",
	"224.0.0.0/4", // multicast
	"255.255.255.255/32",
	"100.100.100.200/32", // metadata of Alibaba Cloud
	"168.63.129.16/32",   // gives Azure's machines their certificates
}

var localIPv6 = []string{
	"::/96",     // unspecified, loopback, and IPv4-compatible (RFC 4291)
	"fe80::/10", // link-local
	"ff00::/8",  // multicast
	// Metadata: of AWS (with its other services for a machine), of Google Cloud, of
	// Scaleway.
	"fd00:ec2::/32",
	"fd20:ce::/32",
	"fd00:42::42/128",
}

// carriers are the forms in which IPv6 carries an address of IPv4: a prefix, and the
// byte at which the address begins.
var carriers = []carrier{
	{"::ffff:0:0", 12}, // mapped: a socket of IPv6 connects by IPv4
	{"64:ff9b::", 12},  // NAT64 (RFC 6052)
	{"2002::", 2},      // 6to4 (RFC 3056)
}

type carrier struct {
	prefix string
	at     int
}

// carried is a prefix of IPv4 as IPv6 carries it.
func carried(plain netip.Prefix, by carrier) netip.Prefix {
	bytes := netip.MustParseAddr(by.prefix).As16()
	v4 := plain.Addr().As4()
	copy(bytes[by.at:], v4[:])
	return netip.PrefixFrom(netip.AddrFrom16(bytes), 8*by.at+plain.Bits())
}

// isLocal reports whether an address is one of LocalPrefixes.
func isLocal(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(localPrefixes, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

var localPrefixes = LocalPrefixes()

// localNames are names that mean such an address wherever they are resolved, like all
// names below localhost (RFC 6761). The user of such a name gets a Problem at once. Other
// names with such an address are found out when the gateway resolves them.
var localNames = []string{
	"localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6", "localhost6.localdomain6",
	"ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts",
	"broadcasthost",
	"metadata", "metadata.goog", "metadata.google.internal", "metadata.tencentyun.com", "metadata.azure.internal",
	"instance-data", "instance-data.ec2.internal",
}

// externalNameOf is the externalName of a Service: a DNS name or an IPv4 address, in
// lower case and without trailing dot. wrong tells people why it is neither. local says
// that it is known to mean one of LocalPrefixes.
func externalNameOf(text string) (name, wrong string, local bool) {
	name = strings.ToLower(strings.TrimSuffix(text, "."))
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", "is not a DNS name", false
	}
	if isNumeric(name[strings.LastIndexByte(name, '.')+1:]) {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			// Resolvers read such addresses in several ways (127.1, 0x7f.1, 0177.0.0.1).
			return "", "is neither a DNS name nor an IPv4 address of four decimal numbers", false
		}
		return name, "", isLocal(addr)
	}
	return name, "", slices.Contains(localNames, name) || strings.HasSuffix(name, ".localhost")
}

// isNumeric reports whether resolvers take a name with this last label for an address:
// no top-level domain is a number (RFC 3696).
func isNumeric(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	if hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// notAllowed tells people why a local address gets no requests.
const notAllowed = "means the gateway's own machine or what only that may reach, which the controller does not allow (--allow-local-backends)"
