package main

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/controllers/edge/declared"
)

// declaredSettings name the ConfigMap whose objects the leader makes.
type declaredSettings struct {
	ConfigMap string // in the controller's namespace; empty: none
}

func (s *declaredSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar(&s.ConfigMap, "declared", s.ConfigMap, "`name` of the ConfigMap, in --namespace, that declares Issuers, ClusterGatewayConfigs and, with --assign-addresses, AddressPools, which the leader makes; empty: none")
}

// load checks the settings. Its errors name the flag that the user gave.
func (s *declaredSettings) load(where func(name, problem string) error) error {
	if s.ConfigMap != "" && len(validation.IsDNS1123Subdomain(s.ConfigMap)) > 0 {
		return where("declared", fmt.Sprintf("%q is no name of a ConfigMap", s.ConfigMap))
	}
	return nil
}

// controller makes the leader keep what the ConfigMap declares; nil: there is no
// such flag.
func (s *declaredSettings) controller(mgr manager.Manager, namespace string, pools bool) (*declared.Controller, error) {
	if s.ConfigMap == "" {
		return nil, nil
	}
	return declared.NewController(mgr, types.NamespacedName{Namespace: namespace, Name: s.ConfigMap}, pools, mgr.GetLogger())
}
