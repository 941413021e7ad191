package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/xds/route"
)

// bindControllerValue declares the flag by which a command for people looks at one
// installation only.
func bindControllerValue(flags *pflag.FlagSet, value *route.Controller) {
	flags.StringVar((*string)(value), "controller-value", string(*value),
		"`value` in spec.controller of the only IngressClasses to count as Fairway's; by default all that begin with fairway.dev/")
}

// checkControllerValue refuses what no IngressClass can have.
func checkControllerValue(value route.Controller) error {
	if value == "" {
		return nil
	}
	if err := value.Validate(); err != nil {
		return usage(fmt.Errorf("--controller-value: %w", err))
	}
	return nil
}
