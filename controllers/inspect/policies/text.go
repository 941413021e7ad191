package policies

import (
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/proxy/policy"
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
	p.Ingress.lines(line, policy.Ingress)
	p.Egress.lines(line, policy.Egress)
	for _, unknown := range p.Unknown {
		line("Not known: %s.", unknown)
	}
	t.WriteString(check.List("Problems of these policies:\n", p.Problems))
	return t.String()
}

// lines are the policies of one direction, tier by tier as they are asked.
func (d Direction) lines(line func(format string, args ...any), which policy.Direction) {
	if len(d.Admin) > 0 {
		line("%s, tier Admin: it is asked first. The first rule that matches decides:", which)
		tableOf(d.Admin, which).lines(line)
	}
	line("%s: %s", which, d.sentence(which))
	var own table
	for _, each := range d.Policies {
		own = append(own, row{each.Name, each.Rules})
	}
	own.lines(line)
	switch {
	case len(d.Baseline) == 0:
		return
	case d.Isolated:
		line("%s, tier Baseline: it is not asked, as a NetworkPolicy isolates the pod:", which)
	default:
		line("%s, tier Baseline: it is asked last. The first rule that matches decides, and what none matches is allowed:", which)
	}
	tableOf(d.Baseline, which).lines(line)
}

// sentence says what NetworkPolicies do.
func (d Direction) sentence(which policy.Direction) string {
	only, the, others := "Only", "The", ""
	if len(d.Admin) > 0 {
		only, the, others = "Of the rest, only", "Of the rest, the", " else"
	}
	switch {
	case d.Isolated && which == policy.Ingress:
		return "isolated. " + only + " what these policies allow reaches the pod:"
	case d.Isolated:
		return "isolated. " + the + " pod may call only what these policies allow:"
	case len(d.Baseline) > 0:
		return "not isolated. No NetworkPolicy decides."
	case which == policy.Ingress:
		return "not isolated. Everybody" + others + " may call the pod."
	default:
		return "not isolated. The pod may call everybody" + others + "."
	}
}

// text says what the rule does with what.
func (r ClusterRule) text(which policy.Direction) string {
	does := map[string]string{policy.Accept.String(): "accepts", policy.Deny.String(): "denies", policy.Pass.String(): "passes on"}[r.Action]
	moves := map[policy.Direction]string{policy.Ingress: "comes", policy.Egress: "goes"}[which]
	text := fmt.Sprintf("%s what %s %s", does, moves, r.Matches)
	if r.Name != "" {
		text += fmt.Sprintf(" (rule %q)", r.Name)
	}
	return text
}

// table is policies, each with its rules beside its name.
type table []row

type row struct {
	name  string
	rules []string
}

// tableOf is the policies of a tier.
func tableOf(tier []ClusterPolicy, which policy.Direction) table {
	var t table
	for _, each := range tier {
		r := row{name: fmt.Sprintf("%s, priority %d", each.Name, each.Priority)}
		for _, rule := range each.Rules {
			r.rules = append(r.rules, rule.text(which))
		}
		t = append(t, r)
	}
	return t
}

func (t table) lines(line func(format string, args ...any)) {
	wide := 0
	for _, each := range t {
		wide = max(wide, len(each.name))
	}
	for _, each := range t {
		rules := each.rules
		if len(rules) == 0 {
			rules = []string{"nothing"}
		}
		for i, rule := range rules {
			name := each.name
			if i > 0 {
				name = ""
			}
			line("  %-*s  %s", wide, name, rule)
		}
	}
}
