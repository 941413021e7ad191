package explain

import (
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/xds/route"
)

// Text returns the explanation for people: the way of the request from top to
// bottom, and then the outcome.
func (e *Explanation) Text() string {
	var t text
	t.line("", "%s", e.URL)
	if e.Controller == "" {
		t.line("gateway", "%s", e.Gateway)
	} else {
		t.line("gateway", "%s of controller %s", e.Gateway, e.Controller)
	}
	if e.Listener != nil {
		t.line("listener", "%s, port %d", e.Listener.Name, e.Listener.Port)
	}
	if e.Path != nil {
		for _, step := range e.Path.Steps {
			t.line("path", "%s", step)
		}
		if len(e.Path.Steps) == 0 || e.Redirect != "" {
			t.line("path", "%s", e.Path.Path)
		}
	}
	if e.Host != nil {
		t.line("host", "%s", e.Host)
	}
	if e.Certificate != nil {
		for _, line := range e.Certificate.lines() {
			t.line("tls", "%s", line)
		}
	}
	if e.Connection != nil {
		t.line(e.Connection.label(), "%s", e.Connection)
	}
	t.route(e)
	t.backend(e)
	if e.Serving != nil {
		t.line("serving", "%s", e.Serving)
	}
	t.line("end", "%s", e.Summary)
	for _, next := range e.Next {
		t.line("next", "%s", next)
	}
	return t.String()
}

// String says how the host was found.
func (h *Host) String() string {
	asked := strings.Join(h.Asked[:len(h.Asked)-1], " nor ")
	switch h.Match {
	case "exact":
		return h.Served + ", by its full name"
	case "wildcard":
		return fmt.Sprintf("%s: nobody names %s", h.Served, asked)
	case "default":
		return fmt.Sprintf("the default host: nobody names %s", asked)
	default:
		return fmt.Sprintf("none: nobody names %s, and there is no default host", asked)
	}
}

// String returns text such as "3 Envoys; Served as it stands".
func (s *Serving) String() string {
	envoys := fmt.Sprintf("%d Envoys", s.Envoys)
	if s.Envoys == 1 {
		envoys = "1 Envoy"
	}
	switch {
	case s.Why != "":
		return fmt.Sprintf("%s; %s: %s", envoys, s.State, s.Why)
	default:
		return fmt.Sprintf("%s; %s as it stands", envoys, s.State)
	}
}

// text consists of lines, each with a label. It does not repeat the label of the
// line before.
type text struct {
	strings.Builder
	label string
}

func (t *text) line(label, format string, args ...any) {
	shown := label
	if label == t.label {
		shown = ""
	}
	t.label = label
	if label == "" {
		fmt.Fprintf(t, "%s\n", wording.Printable(fmt.Sprintf(format, args...)))
		return
	}
	fmt.Fprintf(t, "  %-9s  %s\n", shown, wording.Printable(fmt.Sprintf(format, args...)))
}

func (t *text) route(e *Explanation) {
	if e.Route == nil {
		return
	}
	t.line("route", "%s", e.Route)
	t.line("route", "taken because %s", e.Route.Why)
	for i, other := range e.Others {
		if i == 0 {
			t.line("route", "next best: %s", other)
			continue
		}
		t.line("route", "then: %s", other)
	}
}

// String returns text such as "Prefix /cart, spec.rules[0].http.paths[1] of
// Ingress shop/web".
func (r RouteOf) String() string {
	field := ""
	if r.Field != "" {
		field = r.Field + " of "
	}
	return fmt.Sprintf("%s %s, %sIngress %s", r.Type, r.Path, field, r.Ingress)
}

func (t *text) backend(e *Explanation) {
	if e.Backend == nil {
		return
	}
	t.line("backend", "%s", e.Backend)
	if e.Backend.DNS != "" {
		t.line("endpoints", "those that Envoy resolves %s to", e.Backend.DNS)
		return
	}
	for _, endpoint := range e.Endpoints {
		t.line("endpoints", "%s", endpoint)
	}
	if len(e.Endpoints) == 0 {
		t.line("endpoints", "none")
	}
}

// String returns text such as "Service shop/cart, port 80, HTTP/1.1".
func (b *Backend) String() string {
	spoken := map[string]string{"http1": "HTTP/1.1", "http2": "HTTP/2", "auto": "HTTP/2 or HTTP/1.1"}[b.Protocol]
	switch {
	case b.VerifiedBy != "":
		spoken += fmt.Sprintf(" over TLS, verified by %s for %s", b.VerifiedBy, b.ServerName)
	case b.TLS:
		spoken += " over TLS, not verified"
	}
	return fmt.Sprintf("Service %s, port %d, %s", b.Service, b.Port, spoken)
}

// String returns text such as "10.0.0.1:8080, ready, zone eu-1, Pod cart-1".
func (e EndpointOf) String() string {
	said := []string{e.Address}
	switch e.Condition {
	case string(route.EndpointReady):
		said = append(said, "ready")
	case string(route.EndpointDraining):
		said = append(said, "serving while it terminates")
	default:
		said = append(said, "not ready")
	}
	if !e.Used && e.Condition != string(route.EndpointNotReady) {
		said = append(said, "not used: others come first")
	}
	if e.Zone != "" {
		said = append(said, "zone "+e.Zone)
	}
	if e.Target != "" {
		said = append(said, e.Target)
	}
	return strings.Join(said, ", ")
}
