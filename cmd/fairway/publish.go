package main

import (
	"errors"
	"maps"
	"slices"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/controllers/edge/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/edge/ingressstatus"
)

// publishSettings say which addresses the status of Ingresses gets.
type publishSettings struct {
	Addresses []string // each an address, or GATEWAY=address
	Services  []string // each namespace/name, or GATEWAY=namespace/name

	each ingressstatus.Publications
}

func (s *publishSettings) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&s.Addresses, "publish-address", s.Addresses,
		"`address` (IP or host name) for the status of Ingresses; GATEWAY=address is only for those of one gateway; may be repeated")
	flags.StringSliceVar(&s.Services, "publish-service", s.Services,
		"`namespace/name` of the Service whose addresses go into the status of Ingresses; GATEWAY=namespace/name is only for those of one gateway; may be repeated")
}

// load checks the settings. Its errors name the flag that the user gave.
func (s *publishSettings) load(where func(name, problem string) error) error {
	s.each = ingressstatus.Publications{}
	var wrong []error
	for _, given := range s.Addresses {
		if problem := s.each.AddAddress(given); problem != "" {
			wrong = append(wrong, where("publish-address", problem))
		}
	}
	for _, given := range s.Services {
		if problem := s.each.AddService(given); problem != "" {
			wrong = append(wrong, where("publish-service", problem))
		}
	}
	return errors.Join(wrong...)
}

// services holds what is known of the Services that publish gateways. A gateway
// with given addresses has no Service. The state of all other Services is unknown
// at first.
func (s *publishSettings) services(log logr.Logger) *gatewayconfig.PublishedServices {
	followed := s.each.Services()
	services := gatewayconfig.NewPublishedServices(log, slices.Collect(maps.Keys(followed)))
	for gateway := range s.each {
		if _, follows := followed[gateway]; !follows {
			services.Set(gateway, nil)
		}
	}
	return services
}
