package envoy

import (
	"fmt"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// forwardedAddress is a regular expression for X-Forwarded-For. It matches if the
// hops-th address from the right is written as Azure's gateways, IIS and others
// do: "203.0.113.7:41234", "[2001:db8::7]:41234", with or without quotation marks. Its
// groups are the text to the left, the bare IPv4 address or the bare IPv6
// address, and the text to the right. Envoy checks that the group is an address.
// Envoy also limits the size of an expression and matches nothing with a larger
// one; this one fits with maxHops.
const forwardedAddress = `^((?:\C*,)?[ \t]*)"?(?:\[?(?i:::ffff:)?([0-9.]+)\]?|\[([0-9A-Fa-f:.]+)\])(?::[0-9]+)?"?[ \t]*((?:,[ -+--~]*){%d})$`

// maxHops is the largest number of proxies that GatewayConfig accepts. A flag may
// give more; the regular expression then uses maxHops, because Envoy limits its
// size.
const maxHops = 16

// bareAddress removes everything but the address from the element of
// X-Forwarded-For that names the client. Envoy reads only bare addresses. It
// would otherwise fall back to the address of the connection, which is a proxy's.
//
// CEL compiles the regular expression for each request. So the expression is
// evaluated only if the header holds a bracket, or both a dot and a colon.
func bareAddress(hops uint32) *mutationv3.HeaderMutation {
	const header = "request.headers['x-forwarded-for']"
	regex := fmt.Sprintf(forwardedAddress, min(hops, maxHops)-1)
	format := strings.NewReplacer("HEADER", header, "REGEX", "r'"+regex+"'").Replace(
		`%CEL(HEADER.contains('[') || HEADER.contains('.') && HEADER.contains(':') ? re.extract(HEADER, REGEX, r'\1\2\3\4') : '')%`)
	mutation := set("x-forwarded-for", format) // an empty result, or one that is no text, changes nothing
	mutation.GetAppend().AppendAction = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS
	return mutation
}
