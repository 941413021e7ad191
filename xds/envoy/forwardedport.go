package envoy

import (
	"fmt"
	"strconv"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

const portHeader = "x-forwarded-port"

// forwardedPort tells the backend the port that the client used. Envoy's own
// option (append_x_forwarded_port) sends the listener's port, which clients
// cannot reach if a Service maps another port to it.
func forwardedPort(listener string, s route.Settings) *earlyv3.HeaderMutation {
	port := usedPort(listener, s)
	if s.TrustedHops == 0 {
		return &earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{set(portHeader, port.format())}}
	}
	// A trusted proxy's word counts, even if it names only the scheme, and the
	// scheme is not the listener's.
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

// portExpression is a port as a CEL expression.
type portExpression struct {
	expression string
	isNumber   bool // a constant that needs no evaluation
}

func (p portExpression) format() string {
	if p.isNumber {
		return p.expression
	}
	return "%CEL(" + p.expression + ")%"
}

// usedPort is the port at which clients connect to the load balancer in front of
// a listener. A PROXY header gives it, unless the header gives the listener's own
// port.
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
