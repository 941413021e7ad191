package simulated

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// traceLines bounds a trace: what led to a violation is at its end.
const traceLines = 400

// trace is the last that happened to an Envoy, for people.
type trace struct {
	start time.Time
	lines []string
}

func (t *trace) add(format string, args ...any) {
	if len(t.lines) >= 2*traceLines {
		t.lines = slices.Clone(t.lines[traceLines:])
	}
	t.lines = append(t.lines, fmt.Sprintf("%9.3f ", time.Since(t.start).Seconds())+fmt.Sprintf(format, args...))
}

func (t *trace) String() string { return strings.Join(t.lines, "\n") }

// kind is the last word of a type URL.
func kind(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }

// some prints names, but not thousands.
func some(names []string) string {
	const most = 12
	if len(names) <= most {
		return fmt.Sprint(names)
	}
	return fmt.Sprintf("%v and %d more", names[:most], len(names)-most)
}
