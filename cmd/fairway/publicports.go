package main

import (
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/xds/route"
)

// bindPublicPorts declares the flags of the ports that clients use.
func bindPublicPorts(flags *pflag.FlagSet, r *route.Settings) {
	flags.Var((*optionalPort)(&r.Public.HTTP), "public-http-port", "`port` that clients use for HTTP; 0: that of the published Service, or else --http-port")
	flags.Var((*optionalPort)(&r.Public.HTTPS), "public-https-port", "`port` that clients use for HTTPS, and are sent to from HTTP; 0: that of the published Service, or else --https-port")
	flags.SetNormalizeFunc(renamed)
}

// renamed is the name that a flag has now. What was called otherwise in a release
// before is still understood, on the command line and in files.
func renamed(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "https-redirect-port" {
		name = "public-https-port"
	}
	return pflag.NormalizedName(name)
}
