package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/dns/corefile"
	"github.com/fairwaynet/fairway/dns/freshness"
	"github.com/fairwaynet/fairway/dns/report"
)

// options are what the flags say.
type options struct {
	settings                corefile.Settings
	addresses               []netip.Addr
	resolvConf, zones       string
	pod                     report.Pod
	pace                    freshness.Pace
	logFormat, usage        string
	version, plugins, check bool
}

// parse reads flags. The pod's name is in the environment, as the chart has it for all pods.
func parse(args []string) (options, error) {
	o := options{pod: report.Pod{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME")}}
	s := &o.settings
	f := flag.NewFlagSet("fairway-dns", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&s.Domain, "cluster-domain", "cluster.local", "`domain` of the cluster")
	port := f.Uint("port", 53, "where it answers, by UDP and TCP")
	f.StringVar(&s.Health, "health-address", ":8080", "where /health answers")
	f.StringVar(&s.Ready, "ready-address", ":8181", "where /ready answers")
	f.StringVar(&s.Metrics, "metrics-address", ":9153", "where /metrics answers")
	f.DurationVar(&s.Lameduck, "lameduck", 10*time.Second, "how long it answers after it was told to end")
	f.StringVar(&s.Kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server (default: the account of the pod)")
	f.BoolVar(&s.Log, "log-queries", false, "write a line for each query")
	f.Func("upstream", "`address` of a server for names outside of the cluster; several are possible (default: those of --resolv-conf)", func(text string) error {
		upstream, err := corefile.ParseUpstream(text)
		s.Upstreams = append(s.Upstreams, upstream)
		return err
	})
	f.Func("address", "`address` of the cluster's DNS, which is no server for names outside; several are possible", func(text string) error {
		address, err := netip.ParseAddr(text)
		o.addresses = append(o.addresses, address)
		return err
	})
	f.StringVar(&o.resolvConf, "resolv-conf", "/etc/resolv.conf", "`file` that names the servers for names outside of the cluster")
	f.StringVar(&o.zones, "zones", "", "`folder` with files NAME.server and NAME.override in CoreDNS's language")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	o.pace = freshness.Usual()
	f.DurationVar(&o.pace.Look, "look", o.pace.Look, "time between looks for changes that a watch missed")
	f.DurationVar(&o.pace.Compare, "compare", o.pace.Compare, "time between comparisons of all versions")
	f.DurationVar(&o.pace.Settle, "settle", o.pace.Settle, "how long a change may be on its way")
	f.BoolVar(&o.version, "version", false, "print the version")
	f.BoolVar(&o.plugins, "plugins", false, "list the plugins")
	f.BoolVar(&o.check, "check", false, "say whether a configuration can be used, which is read from the input")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		var usage strings.Builder
		f.SetOutput(&usage)
		f.Usage()
		o.usage = usage.String()
		return o, nil
	} else if err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("arguments %q: there are none", strings.Join(f.Args(), " "))
	}
	if *port > 65535 {
		return o, fmt.Errorf("port %d: it is none", *port)
	}
	s.Port = uint16(*port)
	return o, s.Validate()
}
