package envoy

import (
	_ "embed"

	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
)

// hostHeader carries the host under which a request looks for its routes. It
// is ours: what a client sends in it is thrown away, and no backend sees it.
const hostHeader = "x-fairway-host"

// The two filters that find the routes of hosts that are not served by their
// full name as it was sent, in the order in which they run. Hosts that are do
// without them.
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
