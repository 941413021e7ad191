package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// scopeSettings choose the objects of a cluster that Fairway watches.
type scopeSettings struct {
	Controller route.Controller // of the IngressClasses and Issuers
	Namespaces []string         // empty: all
	Selector   string           // by labels of the Namespaces; empty: all
	Classes    []string         // empty: all of Controller

	selector labels.Selector // nil: all
}

func (s *scopeSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar((*string)(&s.Controller), "controller-value", s.Controller.String(), "serve the IngressClasses with this `value` in spec.controller, and the Issuers")
	flags.StringSliceVar(&s.Namespaces, "watch-namespaces", s.Namespaces, "the only `namespaces` to watch; empty: all")
	flags.StringVar(&s.Selector, "watch-namespace-selector", s.Selector, "serve only Ingresses of namespaces whose `labels` match, such as team=shop,stage!=test")
	flags.StringSliceVar(&s.Classes, "ingress-classes", s.Classes, "the only IngressClass `names` to serve; empty: all with the --controller-value")
}

// load checks the settings. Its errors name the flag that the user gave.
func (s *scopeSettings) load(where func(name, problem string) error) error {
	var wrong []error
	if err := s.Controller.Validate(); err != nil {
		wrong = append(wrong, where("controller-value", err.Error()))
	}
	for _, namespace := range s.Namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			wrong = append(wrong, where("watch-namespaces", fmt.Sprintf("%q is no name of a namespace", namespace)))
		}
	}
	for _, class := range s.Classes {
		if len(validation.IsDNS1123Subdomain(class)) > 0 {
			wrong = append(wrong, where("ingress-classes", fmt.Sprintf("%q is no name of an IngressClass", class)))
		}
	}
	if s.Selector != "" {
		var err error
		if s.selector, err = labels.Parse(s.Selector); err != nil {
			wrong = append(wrong, where("watch-namespace-selector", err.Error()))
		}
	}
	if s.Selector != "" && len(s.Namespaces) > 0 {
		wrong = append(wrong, where("watch-namespace-selector", "cannot be used together with watch-namespaces: give one of them"))
	}
	return errors.Join(wrong...)
}

// scope is the part of the settings for the reconcilers.
func (s *scopeSettings) scope() index.Scope {
	return index.Scope{Controller: s.Controller, Namespaces: s.selector, Classes: s.Classes}
}

// namespaces is the part of the settings for the cache.
func (s *scopeSettings) namespaces() map[string]cache.Config {
	if len(s.Namespaces) == 0 {
		return nil
	}
	namespaces := map[string]cache.Config{}
	for _, namespace := range s.Namespaces {
		namespaces[namespace] = cache.Config{}
	}
	return namespaces
}
