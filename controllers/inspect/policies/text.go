package policies

import (
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

// Text returns for people what applies to the pod.
func (p *Pod) Text() string {
	var t strings.Builder
	line := func(format string, args ...any) {
		t.WriteString(wording.Printable(fmt.Sprintf(format, args...)) + "\n")
	}
	head := []string{fmt.Sprintf("pod %s/%s", p.Namespace, p.Name)}
	head = append(head, p.Addresses...)
	if p.Node != "" {
		head = append(head, "node "+p.Node)
	}
	line("%s", strings.Join(head, ", "))
	if p.Exempt != "" {
		line("No policy applies to the pod: %s.", p.Exempt)
		return t.String()
	}
	if p.Ingress.Isolated {
		line("Ingress: isolated. Only what these policies allow reaches the pod:")
	} else {
		line("Ingress: not isolated. Everybody may call the pod.")
	}
	p.Ingress.lines(line)
	if p.Egress.Isolated {
		line("Egress: isolated. The pod may call only what these policies allow:")
	} else {
		line("Egress: not isolated. The pod may call everybody.")
	}
	p.Egress.lines(line)
	for _, unknown := range p.Unknown {
		line("Not known: %s.", unknown)
	}
	t.WriteString(check.List("Problems of these policies:\n", p.Problems))
	return t.String()
}

// lines are a policy's rules each, beside its name.
func (d Direction) lines(line func(format string, args ...any)) {
	wide := 0
	for _, each := range d.Policies {
		wide = max(wide, len(each.Name))
	}
	for _, each := range d.Policies {
		rules := each.Rules
		if len(rules) == 0 {
			rules = []string{"nothing"}
		}
		for i, rule := range rules {
			name := each.Name
			if i > 0 {
				name = ""
			}
			line("  %-*s  %s", wide, name, rule)
		}
	}
}
