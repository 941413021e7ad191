package simulated

import (
	"bytes"
	"maps"
)

// Ready reports whether a listener is active: all that it needs has come once.
func (e *Envoy) Ready() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.config.ready
}

// Connected reports whether a stream is open.
func (e *Envoy) Connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.statistics.Streams > 0 && e.subscriptions[order[0]].requested && e.life != nil
}

// Statistics tell what has happened so far.
func (e *Envoy) Statistics() Statistics {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.statistics
}

// Violations are what happened to this Envoy that never must.
func (e *Envoy) Violations() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.violations...)
}

// Trace is the last that happened, one line each.
func (e *Envoy) Trace() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trace.String()
}

// Version is the accepted version of a resource, empty if there is none.
func (e *Envoy) Version(url, name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.subscriptions[url].versions[name]
}

// Versions are the accepted versions of a type by name.
func (e *Envoy) Versions(url string) map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.subscriptions[url].versions)
}

// Bodies are the resources of a type that are in use, by name.
func (e *Envoy) Bodies(url string) map[string][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	bodies := make(map[string][]byte, len(e.config.resources[url]))
	for name, h := range e.config.resources[url] {
		bodies[name] = h.body
	}
	return bodies
}

// Body is one resource that is in use, nil if it is not.
func (e *Envoy) Body(url, name string) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.config.resources[url][name]; h != nil {
		return h.body
	}
	return nil
}

// Has reports whether a resource in use contains text.
func (e *Envoy) Has(url, name, text string) bool {
	return bytes.Contains(e.Body(url, name), []byte(text))
}

// Leaked are resources in use that the accepted versions do not know of,
// because the response that brought them was refused: unless the server removes
// them, they stay. Those of earlier streams are left out; no server can know.
func (e *Envoy) Leaked(url string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var leaked []string
	for name := range e.unknown(url) {
		if _, ok := e.inherited[url+" "+name]; !ok {
			leaked = append(leaked, name)
		}
	}
	return leaked
}

// Inherits reports whether there are resources in use that earlier streams
// left, and that no server can know of: what they name stays subscribed.
func (e *Envoy) Inherits(url string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range e.unknown(url) {
		if _, ok := e.inherited[url+" "+name]; ok {
			return true
		}
	}
	return false
}

// inherit notes, for a new stream, what Envoy will not tell of.
func (e *Envoy) inherit() {
	e.inherited = make(map[string]struct{})
	for _, url := range order {
		for name := range e.unknown(url) {
			e.inherited[url+" "+name] = struct{}{}
		}
	}
}

func (e *Envoy) unknown(url string) map[string]struct{} {
	names := make(map[string]struct{})
	for name := range e.config.resources[url] {
		if _, ok := e.subscriptions[url].versions[name]; !ok {
			names[name] = struct{}{}
		}
	}
	return names
}
