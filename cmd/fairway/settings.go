package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/cmd/internal/configfile"
	"github.com/fairwaynet/fairway/cmd/internal/flagvalue"
	"github.com/fairwaynet/fairway/cmd/internal/logging"
	"github.com/fairwaynet/fairway/xds/route"
)

// settings are the flags that all serving commands share. A command binds them to
// its flags, adds its own, and calls load after parsing.
//
// A configuration file uses the same names without the dashes, so that the
// documentation of a flag also applies to the file. A flag on the command line
// overrides the file, and the file overrides the default.
type settings struct {
	Config             string // path of the file
	LogFormat          string // "text" or "json"
	Verbosity          int
	MetricsAddress     string         // host:port; empty: no metrics
	DefaultCertificate flagvalue.Name // for HTTPS; empty: self-signed
	Route              route.Settings

	lines map[string]string // "file:line" of each setting from the file, by name
}

// newSettings returns the settings with the defaults of a command.
func newSettings(defaults route.Settings) *settings {
	return &settings{LogFormat: logging.Text, Route: defaults}
}

// bind declares the flags.
func (s *settings) bind(flags *pflag.FlagSet) {
	s.bindProcess(flags)
	s.bindRoute(flags)
}

// bindProcess declares the flags of every process.
func (s *settings) bindProcess(flags *pflag.FlagSet) {
	flags.StringVar(&s.Config, "config", s.Config, "YAML `file` of these settings, with the same names; flags override it")
	flags.StringVar(&s.LogFormat, "log-format", s.LogFormat, "text or json")
	flags.CountVarP(&s.Verbosity, "verbose", "v", "say more; twice: much more")
	flags.StringVar(&s.MetricsAddress, "metrics-address", s.MetricsAddress, "`host:port` of /metrics, /healthz and /readyz; empty: off")
}

// bindRoute declares the flags for what is served.
func (s *settings) bindRoute(flags *pflag.FlagSet) {
	r := &s.Route
	flags.StringVar(&r.Address, "address", r.Address, "IP `address` to serve on; :: means all addresses, IPv4 included")
	flags.Var((*flagvalue.Port)(&r.HTTPPort), "http-port", "`port` to serve HTTP on")
	bindTLS(flags, r, &s.DefaultCertificate)
	bindPublicPorts(flags, r)
	flags.Uint32Var(&r.TrustedHops, "trusted-hops", r.TrustedHops, "how many proxies in front to trust in X-Forwarded-For")
	flags.StringVar((*string)(&r.EscapedSlashes), "escaped-slashes", string(r.EscapedSlashes), "how to treat %2F and %5C in paths: Redirect, Reject or Keep")
	flags.StringVar((*string)(&r.RepeatedSlashes), "repeated-slashes", string(r.RepeatedSlashes), "what backends see of // in paths: Merge or Keep")
	flags.StringVar((*string)(&r.UnderscoresInHeaders), "underscores-in-headers", string(r.UnderscoresInHeaders), "how to treat headers with an underscore in their name: Drop, Reject or Keep")
	flags.StringVar((*string)(&r.HeaderCase), "header-case", string(r.HeaderCase), "case of header names over HTTP/1.1: Lower, Title or Preserve")
	flags.BoolVar(&r.GRPCWeb, "grpc-web", r.GRPCWeb, "translate gRPC-Web into gRPC for backends")
	flags.StringVar((*string)(&r.ServerHeader), "server-header", string(r.ServerHeader), "how to treat the header Server in responses: IfAbsent, PassThrough or Remove")
	flags.Var((*flagvalue.Bytes)(&r.MaxRequestBody), "max-request-body", "largest `size` of a request's body, such as 10Mi; 0: no limit")
	flags.Uint32Var(&r.MaxRequestHeaders, "max-request-headers", r.MaxRequestHeaders, "largest size of a request's headers in `KiB`")
	flags.Uint32Var(&r.MaxRequestHeaderCount, "max-request-header-count", r.MaxRequestHeaderCount, "largest `number` of a request's headers")
	flags.Uint32Var(&r.MaxResponseHeaders, "max-response-headers", r.MaxResponseHeaders, "largest size of the headers of a backend's response in `KiB`")
	flags.Uint32Var(&r.MaxResponseHeaderCount, "max-response-header-count", r.MaxResponseHeaderCount, "largest `number` of headers of a backend's response")
	flags.DurationVar(&r.IdleTimeout, "idle-timeout", r.IdleTimeout, "how long a client's connection may be idle")
	flags.DurationVar(&r.StreamIdleTimeout, "stream-idle-timeout", r.StreamIdleTimeout, "how long a request may be idle; 0: forever")
	flags.DurationVar(&r.RequestHeadersTimeout, "request-headers-timeout", r.RequestHeadersTimeout, "how long a request's headers may take; 0: forever")
	flags.DurationVar(&r.RequestTimeout, "request-timeout", r.RequestTimeout, "how long a request's body may take; 0: forever")
	flags.DurationVar(&r.ConnectTimeout, "connect-timeout", r.ConnectTimeout, "how long a connection to a backend may take; 0: 500ms, and 2s over TLS and to an ExternalName")
	flags.BoolVar(&r.LocalBackends, "allow-local-backends", r.LocalBackends, "let Services lead to loopback, link-local and metadata addresses")
	flags.DurationVar(&r.UpstreamIdleTimeout, "upstream-idle-timeout", r.UpstreamIdleTimeout, "how long to keep an idle connection to a backend")
	flags.BoolVar(&r.OutlierDetection.Enabled, "outlier-detection", r.OutlierDetection.Enabled, "eject endpoints that refuse connections or are unreachable")
	flags.BoolVar(&r.AccessLog, "access-log", r.AccessLog, "write a line of JSON to standard output for each request")
}

// load reads the configuration file, if any, and validates the result. Its errors
// are usage errors that name the flag, or file and line.
func (s *settings) load(flags *pflag.FlagSet) error {
	if s.Config != "" {
		var err error
		if s.lines, err = configfile.Read(s.Config, flags); err != nil {
			return usage(err)
		}
	}
	if err := s.validate(); err != nil {
		return usage(err)
	}
	return nil
}

// validate checks what the flag types do not.
func (s *settings) validate() error {
	r := s.Route
	_, badAddress := netip.ParseAddr(r.Address)
	metrics := error(nil)
	if s.MetricsAddress != "" {
		_, _, metrics = net.SplitHostPort(s.MetricsAddress)
	}
	var wrong []error
	for _, check := range []settingCheck{
		{"log-format", s.LogFormat == logging.Text || s.LogFormat == logging.JSON, fmt.Sprintf("%q is neither text nor json", s.LogFormat)},
		{"metrics-address", metrics == nil, fmt.Sprintf("%q is no host:port", s.MetricsAddress)},
		{"address", badAddress == nil, fmt.Sprintf("%q is no IP address", r.Address)},
		{"https-port", r.HTTPSPort != r.HTTPPort, "is the port of HTTP, too"},
		choice("escaped-slashes", r.EscapedSlashes, route.EscapedSlashesChoices()),
		choice("repeated-slashes", r.RepeatedSlashes, route.RepeatedSlashesChoices()),
		choice("underscores-in-headers", r.UnderscoresInHeaders, route.UnderscoresChoices()),
		choice("header-case", r.HeaderCase, route.HeaderCaseChoices()),
		choice("server-header", r.ServerHeader, route.ServerHeaderChoices()),
		{"max-request-body", r.MaxRequestBody >= 0, "cannot be negative"},
		{"max-request-headers", isHeaderSize(r.MaxRequestHeaders), fmt.Sprintf("%d is not between 1 and 8192 KiB", r.MaxRequestHeaders)},
		{"max-request-header-count", isHeaderCount(r.MaxRequestHeaderCount), fmt.Sprintf("%d is not between 1 and 10000", r.MaxRequestHeaderCount)},
		{"max-response-headers", isHeaderSize(r.MaxResponseHeaders), fmt.Sprintf("%d is not between 1 and 8192 KiB", r.MaxResponseHeaders)},
		{"max-response-header-count", isHeaderCount(r.MaxResponseHeaderCount), fmt.Sprintf("%d is not between 1 and 10000", r.MaxResponseHeaderCount)},
		{"idle-timeout", r.IdleTimeout > 0, "must be more than 0"},
		{"stream-idle-timeout", r.StreamIdleTimeout >= 0, "cannot be negative"},
		{"request-headers-timeout", r.RequestHeadersTimeout >= 0, "cannot be negative"},
		{"request-timeout", r.RequestTimeout >= 0, "cannot be negative"},
		{"connect-timeout", r.ConnectTimeout >= 0, "cannot be negative"},
		{"upstream-idle-timeout", r.UpstreamIdleTimeout > 0, "must be more than 0"},
	} {
		if !check.ok {
			wrong = append(wrong, s.wrong(check.name, check.want))
		}
	}
	return errors.Join(wrong...)
}

// isHeaderSize reports whether kib is a valid limit for the size of headers.
func isHeaderSize(kib uint32) bool { return kib >= 1 && kib <= 8192 }

// isHeaderCount reports whether n is a valid limit for the number of headers.
func isHeaderCount(n uint32) bool { return n >= 1 && n <= 10_000 }

// settingCheck says whether a setting is valid, and what is wrong if not.
type settingCheck struct {
	name string
	ok   bool
	want string
}

// choice checks that a setting is one of a few words.
func choice[C ~string](name string, value C, choices []C) settingCheck {
	return settingCheck{name, slices.Contains(choices, value), fmt.Sprintf("%q is none of %s", value, route.List(choices))}
}

// wrong is an error with the place of a setting and what is wrong with it.
func (s *settings) wrong(name, what string) error {
	if line, ok := s.lines[name]; ok {
		return fmt.Errorf("%s: %s: %s", line, name, what)
	}
	return fmt.Errorf("--%s: %s", name, what)
}

// logger writes in the chosen format. -v sets its level.
func (s *settings) logger(to io.Writer) logr.Logger {
	return logging.New(to, s.LogFormat, s.Verbosity)
}
