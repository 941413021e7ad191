package ingressstatus

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/xds/route"
)

// Publications say where clients reach each gateway, or Others.
type Publications map[route.Gateway]publication

// publication is addresses, or a Service whose addresses count.
type publication struct {
	addresses []networkingv1.IngressLoadBalancerIngress
	service   types.NamespacedName
}

// target splits "GATEWAY=value".
func target(given string) (gateway route.Gateway, value, problem string) {
	name, value, named := strings.Cut(given, "=")
	switch {
	case !named:
		return Others, given, ""
	case !route.IsGateway(name):
		return "", "", fmt.Sprintf("%q is not the name of a gateway, which is NAME or NAMESPACE/NAME", name)
	default:
		return route.Gateway(name), value, ""
	}
}

// AddAddress adds a text, which is an address or GATEWAY=address. problem says what is
// wrong with it.
func (p Publications) AddAddress(given string) (problem string) {
	gateway, value, problem := target(given)
	if problem != "" {
		return problem
	}
	address := Address(value)
	if address.IP == "" && len(validation.IsDNS1123Subdomain(value)) > 0 {
		return fmt.Sprintf("%q is neither an IP address nor a host name", value)
	}
	of := p[gateway]
	of.addresses = append(of.addresses, address)
	p[gateway] = of
	return ""
}

// AddService adds a text, which is namespace/name of a Service or GATEWAY=namespace/name.
// problem says what is wrong with it. Call it after AddAddress.
func (p Publications) AddService(given string) (problem string) {
	gateway, value, problem := target(given)
	if problem != "" {
		return problem
	}
	namespace, name, ok := strings.Cut(value, "/")
	of := p[gateway]
	switch {
	case !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1035Label(name)) > 0:
		return fmt.Sprintf("%q is no namespace/name", value)
	case of.addresses != nil:
		return "cannot be used together with publish-address: give one of them"
	case of.service != types.NamespacedName{}:
		return fmt.Sprintf("%q and %q: one Service is enough", of.service, value)
	}
	of.service = types.NamespacedName{Namespace: namespace, Name: name}
	p[gateway] = of
	return ""
}

// Services returns the Services of gateways, or of Others, that have one.
func (p Publications) Services() map[route.Gateway]types.NamespacedName {
	services := map[route.Gateway]types.NamespacedName{}
	for gateway, of := range p {
		if of.service.Name != "" {
			services[gateway] = of.service
		}
	}
	return services
}

// SetAddresses sets the given addresses. Gateways with a Service have none until the
// Service is known.
func (p Publications) SetAddresses(addresses *Addresses) {
	for _, gateway := range slices.Sorted(maps.Keys(p)) {
		addresses.Set(gateway, p[gateway].addresses)
	}
}
