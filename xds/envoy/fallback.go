package envoy

import (
	_ "embed"

	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
)

// hostHeader carries the host whose routes a request uses. The header is
// internal: Envoy removes it from requests of clients, and backends do not see
// it.
const hostHeader = "x-fairway-host"

// Two filters, in the order in which they run, find the routes of a request whose
// host, as sent, is not the full name of a served host. Other requests do not
// need them.
const (
	spellingFilter = "fairway.spelling"
	fallbackFilter = "fairway.fallback"
)

//go:embed spelling.lua
var spellingScript string

//go:embed fallback.lua
var fallbackScript string

func lua(script string) *luav3.Lua {
	return &luav3.Lua{DefaultSourceCode: text(script)}
}
