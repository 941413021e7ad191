package connection

import (
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

// mostEndpoints is how many endpoints are shown to people.
const mostEndpoints = 20

// Text returns the explanation for people.
func (x *Explanation) Text() string {
	var t strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&t, "  %-8s %s\n", label, wording.Printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&t, "%s\n", wording.Printable(fmt.Sprintf("pod %s/%s to %s, %s", x.From.Namespace, x.From.Name, x.To, x.Protocol)))
	var addresses []string
	for _, a := range x.From.Addresses {
		addresses = append(addresses, a.String())
	}
	line("from", "%s, node %s", strings.Join(addresses, ", "), x.From.Node)
	if s := x.Service; s != nil {
		how := "policies judge what is behind it"
		if s.Headless {
			how = "it has no address, and clients connect to its endpoints"
		}
		line("service", "%s/%s: %s", s.Namespace, s.Name, how)
	}
	for _, e := range x.shown() {
		if e.Pod == "" {
			line("to", "%s", e.Address)
		} else {
			line("to", "%s, pod %s", e.Address, e.Pod)
		}
		line("egress", "%s", e.Egress)
		line("ingress", "%s", e.Ingress)
	}
	if more := len(x.Endpoints) - mostEndpoints; more > 0 {
		line("to", "%d more: -o json has all", more)
	}
	line("end", "%s", x.Summary)
	for _, unknown := range x.Unknown {
		line("unknown", "%s", unknown)
	}
	t.WriteString(check.List("Problems of these policies:\n", x.Problems))
	return t.String()
}

// shown are the endpoints for people, those that are denied first.
func (x *Explanation) shown() []Endpoint {
	var denied, allowed []Endpoint
	for _, e := range x.Endpoints {
		if e.Allowed {
			allowed = append(allowed, e)
		} else {
			denied = append(denied, e)
		}
	}
	all := append(denied, allowed...)
	return all[:min(len(all), mostEndpoints)]
}

// String says whether it is allowed, and why.
func (v Verdict) String() string {
	if v.Allowed {
		return "allowed: " + v.Why
	}
	return "denied: " + v.Why
}
