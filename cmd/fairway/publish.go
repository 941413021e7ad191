package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/controllers/edge/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/edge/ingressstatus"
	"github.com/fairwaynet/fairway/xds/route"
)

// publishSettings say which addresses the status of Ingresses gets.
type publishSettings struct {
	Addresses []string // each an address, or GATEWAY=address
	Services  []string // each namespace/name, or GATEWAY=namespace/name

	each map[route.Gateway]published
}

// published says where clients reach a gateway: at addresses, or at the addresses
// of a Service.
type published struct {
	addresses []networkingv1.IngressLoadBalancerIngress
	service   types.NamespacedName
}

func (s *publishSettings) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&s.Addresses, "publish-address", s.Addresses,
		"`address` (IP or host name) for the status of Ingresses; GATEWAY=address is only for those of one gateway; may be repeated")
	flags.StringSliceVar(&s.Services, "publish-service", s.Services,
		"`namespace/name` of the Service whose addresses go into the status of Ingresses; GATEWAY=namespace/name is only for those of one gateway; may be repeated")
}

// load checks the settings. Its errors name the flag that the user gave.
func (s *publishSettings) load(where func(name, problem string) error) error {
	s.each = map[route.Gateway]published{}
	var wrong []error
	for _, given := range s.Addresses {
		if problem := s.addAddress(given); problem != "" {
			wrong = append(wrong, where("publish-address", problem))
		}
	}
	for _, given := range s.Services {
		if problem := s.addService(given); problem != "" {
			wrong = append(wrong, where("publish-service", problem))
		}
	}
	return errors.Join(wrong...)
}

// target splits "GATEWAY=value".
func target(given string) (gateway route.Gateway, value, problem string) {
	name, value, named := strings.Cut(given, "=")
	switch {
	case !named:
		return ingressstatus.Others, given, ""
	case !isGateway(name):
		return "", "", fmt.Sprintf("%q is not the name of a gateway, which is NAME or NAMESPACE/NAME", name)
	default:
		return route.Gateway(name), value, ""
	}
}

func (s *publishSettings) addAddress(given string) (problem string) {
	gateway, value, problem := target(given)
	if problem != "" {
		return problem
	}
	address := ingressstatus.Address(value)
	if address.IP == "" && len(validation.IsDNS1123Subdomain(value)) > 0 {
		return fmt.Sprintf("%q is neither an IP address nor a host name", value)
	}
	p := s.each[gateway]
	p.addresses = append(p.addresses, address)
	s.each[gateway] = p
	return ""
}

func (s *publishSettings) addService(given string) (problem string) {
	gateway, value, problem := target(given)
	if problem != "" {
		return problem
	}
	namespace, name, ok := strings.Cut(value, "/")
	p := s.each[gateway]
	switch {
	case !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1035Label(name)) > 0:
		return fmt.Sprintf("%q is no namespace/name", value)
	case p.addresses != nil:
		return "cannot be used together with publish-address: give one of them"
	case p.service != types.NamespacedName{}:
		return fmt.Sprintf("%q and %q: one Service is enough", p.service, value)
	}
	p.service = types.NamespacedName{Namespace: namespace, Name: name}
	s.each[gateway] = p
	return ""
}

// services holds what is known of the Services that publish gateways. A gateway
// with given addresses has no Service. The state of all other Services is unknown
// at first.
func (s *publishSettings) services(log logr.Logger) *gatewayconfig.PublishedServices {
	var followed, others []route.Gateway
	for gateway, p := range s.each {
		if p.service.Name != "" {
			followed = append(followed, gateway)
		} else {
			others = append(others, gateway)
		}
	}
	services := gatewayconfig.NewPublishedServices(log, followed)
	for _, gateway := range others {
		services.Set(gateway, nil)
	}
	return services
}

// tell sets the given addresses. It returns the gateways that use the addresses
// of a Service; these have no addresses until the Service is known.
func (s *publishSettings) tell(addresses *ingressstatus.Addresses) []route.Gateway {
	var followed []route.Gateway
	for _, gateway := range slices.Sorted(maps.Keys(s.each)) {
		p := s.each[gateway]
		addresses.Set(gateway, p.addresses)
		if p.service.Name != "" {
			followed = append(followed, gateway)
		}
	}
	return followed
}
