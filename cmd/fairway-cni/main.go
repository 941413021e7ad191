// Command fairway-cni is the CNI plugin of Fairway. The container runtime runs it for each
// pod; the agent of the node installs it.
package main

import (
	"context"
	"os/signal"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/fairwaynet/fairway/cni/plugin"
)

// release is the version that the build sets.
var release = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	verbs := plugin.Plugin{Now: time.Now}
	verb := func(do func(context.Context, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
		return func(args *skel.CmdArgs) error { return do(ctx, args) }
	}
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add: verb(verbs.Add), Del: verb(verbs.Del), Check: verb(verbs.Check), GC: verb(verbs.GC), Status: verb(verbs.Status),
	}, version.PluginSupports("0.4.0", "1.0.0", "1.1.0"), "fairway-cni "+release+": the CNI plugin of Fairway (github.com/fairwaynet/fairway)")
}
