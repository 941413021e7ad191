package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// printTable prints what was measured with a number of hosts, a column a peer;
// the last ones say how many times the first peer's each other's value is.
func printTable(w io.Writer, hosts int, results []*result) {
	var all []*result
	for _, r := range results {
		if r.hosts == hosts {
			i := slices.IndexFunc(results, func(e *result) bool { return e.hosts == 0 && e.peer == r.peer })
			r.empty = results[i].empty
			all = append(all, r)
		}
	}
	fmt.Fprintf(w, "\n%d hosts\n\n", hosts)
	head, line := "| |", "|---|"
	for _, r := range all {
		head, line = head+" "+r.peer+" |", line+"---|"
	}
	for _, r := range all[1:] {
		head, line = head+fmt.Sprintf(" %s ÷ %s |", r.peer, all[0].peer), line+"---|"
	}
	fmt.Fprintln(w, head+"\n"+line)
	for _, row := range rows() {
		cells := []string{row.name}
		for _, r := range all {
			cells = append(cells, row.text(r))
		}
		for _, r := range all[1:] {
			cells = append(cells, ratio(row.value(r), row.value(all[0])))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return ""
	}
	if a > 10*b {
		return fmt.Sprintf("%.0f", a/b)
	}
	return fmt.Sprintf("%.1f", a/b)
}

// row is a line of the table.
type row struct {
	name  string
	text  func(*result) string
	value func(*result) float64 // of which the ratio is printed
}

func rows() []row {
	rows := []row{{"started → all hosts served, s",
		func(r *result) string { return fmt.Sprintf("%.2f", r.cold.Seconds()) },
		func(r *result) float64 { return r.cold.Seconds() }}}
	for _, phase := range phases {
		for _, kind := range kinds {
			rows = append(rows, row{
				kind.name + phase.name + ", ms: p50 / p99 / max (n)",
				func(r *result) string { return spread(*kind.of(&phase.of(r).changes)) },
				func(r *result) float64 { return milliseconds(kind.of(&phase.of(r).changes).quantile(0.5)) },
			})
		}
		rows = append(rows, row{
			"changes that showed an error" + phase.name + ": add, lead, replace, delete",
			func(r *result) string { return errorsOf(phase.of(r).changes) },
			func(*result) float64 { return 0 },
		})
	}
	for _, phase := range phases {
		rows = append(rows, row{
			"requests to unchanged hosts" + phase.name + ", ms: p50 / p99 / max; failed of n",
			func(r *result) string { return unchanged(phase.of(r).unchanged) },
			func(r *result) float64 { return milliseconds(phase.of(r).unchanged.P99) },
		}, row{
			"CPU" + phase.name + ", ms a second: controller + Envoy",
			func(r *result) string {
				return fmt.Sprintf("%.1f + %.1f", milliseconds(phase.of(r).controller), milliseconds(phase.of(r).cpu))
			},
			func(r *result) float64 { return milliseconds(phase.of(r).controller + phase.of(r).cpu) },
		})
	}
	rows = append(rows, row{
		"requests to unchanged hosts, under 20 changes/s of a class that nobody serves, ms: p50 / p99 / max; failed of n",
		func(r *result) string { return unchanged(r.elsewhere) },
		func(r *result) float64 { return milliseconds(r.elsewhere.P99) },
	})
	return append(rows, memoryRows()...)
}

func memoryRows() []row {
	var rows []row
	for _, at := range []struct {
		name string
		of   func(*result) memory
	}{
		{"without hosts", func(r *result) memory { return r.empty }},
		{"with all hosts", func(r *result) memory { return r.full }},
		{"at most", func(r *result) memory { return r.peak }},
		{"after deleting everything", func(r *result) memory { return r.after }},
	} {
		rows = append(rows, row{
			"RSS " + at.name + ", MiB: controller + Envoy",
			func(r *result) string {
				m := at.of(r)
				return fmt.Sprintf("%.0f + %.0f", mebibytes(m.controller), mebibytes(m.proxy))
			},
			func(r *result) float64 { return mebibytes(at.of(r).controller + at.of(r).proxy) },
		})
	}
	return rows
}

var phases = []struct {
	name string
	of   func(*result) *phase
}{
	{"", func(r *result) *phase { return &r.idle }},
	{", under 20 changes/s", func(r *result) *phase { return &r.busy }},
}

var kinds = []struct {
	name string
	of   func(*changes) *series
}{
	{"add a host", func(c *changes) *series { return &c.add }},
	{"lead it to another Service", func(c *changes) *series { return &c.lead }},
	{"replace its endpoint", func(c *changes) *series { return &c.endpoint }},
	{"delete it", func(c *changes) *series { return &c.remove }},
}

func spread(s series) string {
	if len(s.took) == 0 {
		return "gave up"
	}
	return fmt.Sprintf("%s / %s / %s (%d)",
		short(s.quantile(0.5)), short(s.quantile(0.99)), short(s.quantile(1)), len(s.took))
}

func unchanged(o outcome) string {
	return fmt.Sprintf("%s / %s / %s; %d of %d", short(o.P50), short(o.P99), short(o.Max), o.Failed, o.Sent)
}

func errorsOf(c changes) string {
	var parts []string
	for _, kind := range kinds {
		s := kind.of(&c)
		parts = append(parts, fmt.Sprintf("%d/%d", s.failed, len(s.took)))
	}
	return strings.Join(parts, ", ")
}

// short is a duration in milliseconds with two or three digits.
func short(d time.Duration) string {
	switch ms := milliseconds(d); {
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}
