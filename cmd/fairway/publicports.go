package main

import (
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/cmd/internal/flagvalue"
	"github.com/fairwaynet/fairway/xds/route"
)

// bindPublicPorts declares the flags of the ports that clients use.
func bindPublicPorts(flags *pflag.FlagSet, r *route.Settings) {
	flags.Var((*flagvalue.OptionalPort)(&r.Public.HTTP), "public-http-port", "`port` that clients use for HTTP; 0: the published Service's port, or else --http-port")
	flags.Var((*flagvalue.OptionalPort)(&r.Public.HTTPS), "public-https-port", "`port` that clients use for HTTPS, also the target of redirects from HTTP; 0: the published Service's port, or else --https-port")
	flags.SetNormalizeFunc(renamed)
}

// renamed is the current name of a flag. It lets the command line and files use
// the names of earlier releases.
func renamed(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "https-redirect-port" {
		name = "public-https-port"
	}
	return pflag.NormalizedName(name)
}
