package overview

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/customresources"
)

// Text returns the overview for people, without the Problems.
func (o *Overview) Text() string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		_, _ = fmt.Fprintln(table, wording.Printable(strings.Join(cells, "\t"), '\t')) // into memory
	}
	if len(o.Installations) > 0 {
		row("INSTALLATION", "CONTROLLER OF ITS CLASSES")
		for _, i := range o.Installations {
			row(i.String(), i.Controller)
		}
		row()
	}
	row("CONTROLLER", "ROLE", "VERSION", "ENVOYS", "HELD UP")
	for _, c := range o.Controllers {
		row(o.title(c), c.role(), cmp.Or(c.Version, "-"), fmt.Sprint(c.Envoys), fmt.Sprint(c.HeldUp))
	}
	if len(o.Controllers) == 0 {
		row("-")
	}
	row()
	row("GATEWAY", "CLASSES", "ENVOYS", "VERSION", "HOSTS")
	for _, g := range o.Gateways {
		row(g.title(), orNone(g.Classes), g.envoys(), orNone(g.Versions), fmt.Sprint(g.Hosts))
	}
	row()
	row("INGRESS", "STATE", "ADDRESS", "PROBLEMS", "HOSTS")
	for _, i := range o.Ingresses {
		row(i.Namespace+"/"+i.Name, string(i.State), orNone(i.Addresses), fmt.Sprint(i.Problems), orNone(short(i.Hosts)))
	}
	o.addCertificates(row)
	o.addNodes(row)
	o.addAddresses(row)
	o.addDNS(row)
	_ = table.Flush() // into memory
	for _, i := range o.Ingresses {
		if i.Why != "" {
			fmt.Fprintf(&out, "%s/%s: %s: %s\n", i.Namespace, i.Name, i.State, wording.Printable(i.Why, '\t'))
		}
	}
	for _, pod := range o.Waiting {
		out.WriteString(pod.text())
	}
	say := func(format string, args ...any) { fmt.Fprintf(&out, format, args...) }
	o.whysOfCertificates(say)
	o.whysOfNodes(say)
	o.whysOfAddresses(say)
	o.whysOfDNS(say)
	if text := customresources.Text(o.Missing); text != "" {
		fmt.Fprintf(&out, "%s\n", text)
	}
	for _, unknown := range o.Unknown {
		fmt.Fprintf(&out, "unknown: %s\n", wording.Printable(unknown, '\t'))
	}
	return out.String()
}

// title tells controllers of several installations apart.
func (o *Overview) title(c Controller) string {
	title := c.Namespace + "/" + c.Identity
	if len(o.Installations) > 0 {
		title += " of " + c.Installation
	}
	return title
}

func (c Controller) role() string {
	switch {
	case !c.Alive:
		return "gone"
	case c.Leader:
		return "leader"
	default:
		return "standby"
	}
}

// title tells gateways of one name apart.
func (g Gateway) title() string {
	if g.Controller == "" {
		return g.Name
	}
	return g.Name + " of " + g.Controller
}

func (g Gateway) envoys() string {
	said := fmt.Sprint(g.Envoys)
	if g.Synced != g.Envoys {
		said += fmt.Sprintf(", %d of them up to date", g.Synced)
	}
	if g.Unproved > 0 {
		said += fmt.Sprintf(", %d certificates not served", g.Unproved)
	}
	return said
}

// short keeps an Ingress with many hosts on one line.
func short(hosts []string) []string {
	const most = 3
	if len(hosts) <= most {
		return hosts
	}
	return append(hosts[:most:most], fmt.Sprintf("and %d more", len(hosts)-most))
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func number(n int32) string { return fmt.Sprint(n) }

func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.DateOnly)
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format("2006-01-02 15:04")
}
