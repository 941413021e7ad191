package envoy

import (
	"fmt"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// forwardedAddress is a regular expression for X-Forwarded-For whose hops-th
// address from the right is written as Azure's gateways, IIS and others do:
// "203.0.113.7:41234", "[2001:db8::7]:41234", either in quotation marks. What is
// left of it, the bare address and what is right of it are its groups, the second
// of them if it is of IPv4 and the third if it is of IPv6. Envoy looks whether it is
// one. It bounds how large an expression may be, and finds nothing beyond: this one
// fits with maxHops.
const forwardedAddress = `^((?:\C*,)?[ \t]*)"?(?:\[?(?i:::ffff:)?([0-9.]+)\]?|\[([0-9A-Fa-f:.]+)\])(?::[0-9]+)?"?[ \t]*((?:,[ -+--~]*){%d})$`

// maxHops is as many as settings may name. A flag may name more: these are not
// looked for, since Envoy bounds the size of a regular expression.
const maxHops = 16

// bareAddress takes everything but the address from the element of X-Forwarded-For
// that says who the client is. Envoy reads bare addresses only, and falls back to
// that of the connection, which is a proxy's.
//
// The expression compiles its regular expression for each request, so that is looked
// at only where there is a bracket, or an address of IPv4 with a colon.
func bareAddress(hops uint32) *mutationv3.HeaderMutation {
	const header = "request.headers['x-forwarded-for']"
	regex := fmt.Sprintf(forwardedAddress, min(hops, maxHops)-1)
	format := strings.NewReplacer("HEADER", header, "REGEX", "r'"+regex+"'").Replace(
		`%CEL(HEADER.contains('[') || HEADER.contains('.') && HEADER.contains(':') ? re.extract(HEADER, REGEX, r'\1\2\3\4') : '')%`)
	mutation := set("x-forwarded-for", format) // what is empty, or no text, changes nothing
	mutation.GetAppend().AppendAction = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS
	return mutation
}
