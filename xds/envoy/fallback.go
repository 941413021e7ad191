package envoy

import (
	_ "embed"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// hostHeader carries the host under which a request looks for its routes. It
// is ours: what a client sends in it is thrown away, and no backend sees it.
const hostHeader = "x-fairway-host"

// fallbackFilter finds the routes of hosts that are not served by their full
// name as sent.
const fallbackFilter = "fairway.fallback"

//go:embed fallback.lua
var fallbackScript string

func fallback() *luav3.Lua {
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{
		Specifier: &corev3.DataSource_InlineString{InlineString: fallbackScript},
	}}
}

// hostKind is how requests find a host: by its full name, or by the fallback.
type hostKind int

const (
	exact hostKind = iota
	wildcard
	anyHost
)

func kindOf(h route.Hostname) hostKind {
	switch {
	case h == route.AnyHost:
		return anyHost
	case strings.HasPrefix(string(h), "*."):
		return wildcard
	default:
		return exact
	}
}
