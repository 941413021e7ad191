// Command fairway-dns is CoreDNS with the plugins that a cluster's DNS needs, and some of ours. Its
// configuration follows from flags, and from files of the cluster's people.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/fairwaynet/fairway/dns/freshness"
	"github.com/fairwaynet/fairway/dns/lameduck"
	"github.com/fairwaynet/fairway/dns/loopguard"
	"github.com/fairwaynet/fairway/dns/report"
	"github.com/fairwaynet/fairway/dns/zones"
)

// release is set by the builder of images.
var release = "devel"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fairway-dns:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run() error {
	options, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	if options.version {
		_, err := fmt.Fprintf(os.Stdout, "fairway-dns %s, CoreDNS %s\n", release, coremain.CoreVersion)
		return err
	}
	if options.usage != "" {
		_, err := fmt.Fprint(os.Stdout, options.usage)
		return err
	}
	events, err := events(options)
	if err != nil {
		return err
	}
	register(events, options.pace)
	switch {
	case options.plugins:
		_, err := fmt.Fprintln(os.Stdout, caddy.DescribePlugins())
		return err
	case options.check:
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return zones.Check(string(text))
	}
	return serve(options, events)
}

// events tells people; a check tells nobody.
func events(options options) (report.Events, error) {
	if options.check || options.plugins {
		return report.Events{}, nil
	}
	return report.New(options.settings.Kubeconfig, options.pod)
}

// register makes our plugins known, each before the plugin that it stands in front of.
func register(events report.Events, pace freshness.Pace) {
	lameduck.Register()
	freshness.Register(events, pace)
	loopguard.Register(events)
	var all []string
	for _, name := range dnsserver.Directives {
		switch name {
		case "health":
			all = append(all, lameduck.Name)
		case "cache":
			all = append(all, freshness.Name)
		case "forward":
			all = append(all, loopguard.Name)
		}
		all = append(all, name)
	}
	dnsserver.Directives = all
}

// serve runs until the process is told to end.
func serve(options options, events report.Events) error {
	clog.SetOutput(os.Stdout)
	if err := clog.Configure(options.logFormat, os.Stdout); err != nil {
		return err
	}
	caddy.AppName, caddy.AppVersion, caddy.Quiet, dnsserver.Quiet = coremain.CoreName, coremain.CoreVersion, true, true
	loader, err := newLoader(options, events)
	if err != nil {
		return err
	}
	caddy.SetDefaultCaddyfileLoader("fairway-dns", loader)
	caddy.TrapSignals()
	input, err := caddy.LoadCaddyfile(serverType)
	if err != nil {
		return err
	}
	instance, err := caddy.Start(input)
	if err != nil && loader.hasFiles() {
		events.Warn("ZonesRefused", "The DNS server does not start with the files of "+options.zones+", and runs without them: "+err.Error())
		instance, err = caddy.Start(loader.plain())
	}
	if err != nil {
		return err
	}
	clog.Infof("fairway-dns %s, CoreDNS %s", release, coremain.CoreVersion)
	instance.Wait()
	return nil
}
