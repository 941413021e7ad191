package envoy

import (
	"fmt"
	"strconv"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

const portHeader = "x-forwarded-port"

// forwardedPort tells the backend the port that the client used. Envoy's own way
// (append_x_forwarded_port) tells the one of the listener, which nobody can reach
// where a Service leads to it from another.
func forwardedPort(listener string, s route.Settings) *earlyv3.HeaderMutation {
	port := usedPort(listener, s)
	if s.TrustedHops == 0 {
		return &earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{set(portHeader, port.format())}}
	}
	// What a trusted proxy says counts, also where it only says that the client
	// came by the other scheme.
	said := `request.headers['` + schemeHeader + `']`
	isSecure := fmt.Sprintf("(%[1]s.startsWith('https') || %[1]s.startsWith('HTTPS'))", said)
	other, differs := s.PublicHTTPS(), isSecure
	if listener != HTTP {
		other, differs = s.PublicHTTP(), "!"+isSecure
	}
	port.expression = fmt.Sprintf("'%s' in request.headers && %s ? %d : %s", schemeHeader, differs, other, port.expression)
	port.isNumber = false
	return &earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{setIfAbsent(portHeader, port.format())}}
}

// portExpression is a port in the language of expressions.
type portExpression struct {
	expression string
	isNumber   bool // and nothing to be evaluated
}

func (p portExpression) format() string {
	if p.isNumber {
		return p.expression
	}
	return "%CEL(" + p.expression + ")%"
}

// usedPort is the port at which clients connect to what is in front of a listener.
// A PROXY header says it, if it says another one than the listener's own.
func usedPort(listener string, s route.Settings) portExpression {
	public, configured, binds := s.PublicHTTPS(), s.Public.HTTPS, s.HTTPSPort
	switch listener {
	case HTTP:
		public, configured, binds = s.PublicHTTP(), s.Public.HTTP, s.HTTPPort
	case http3:
		public = s.PublicHTTP3()
	}
	if s.ProxyProtocol == nil || configured != 0 {
		return portExpression{strconv.Itoa(int(public)), true}
	}
	return portExpression{fmt.Sprintf("destination.port == %d ? %d : destination.port", binds, public), false}
}
