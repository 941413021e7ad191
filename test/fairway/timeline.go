package fairway

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Timeline records events in order: actions of the test, xDS messages, and failed
// requests. It helps to explain a failure that cannot be reproduced.
type Timeline struct {
	mu     sync.Mutex
	events []event
}

type event struct {
	at   time.Time
	text string
}

// maxEvents limits the events in a Timeline; the oldest are dropped first.
const maxEvents = 20_000

// Note adds an event with the current time.
func (l *Timeline) Note(format string, args ...any) {
	e := event{time.Now(), fmt.Sprintf(format, args...)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == maxEvents {
		l.events = append(l.events[:0], l.events[maxEvents/2:]...)
	}
	l.events = append(l.events, e)
}

// Around are the events around a moment.
func (l *Timeline) Around(moment time.Time, before, after time.Duration) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	for _, e := range l.events {
		if d := e.at.Sub(moment); d >= -before && d <= after {
			fmt.Fprintf(&text, "%s %+8.1fms %s\n", e.at.Format("15:04:05.000000"), float64(d.Microseconds())/1000, e.text)
		}
	}
	return text.String()
}

// Last are the last n events.
func (l *Timeline) Last(n int) string {
	l.mu.Lock()
	if len(l.events) == 0 {
		l.mu.Unlock()
		return ""
	}
	at := l.events[max(0, len(l.events)-n)].at
	l.mu.Unlock()
	return l.Around(at, 0, time.Since(at))
}

// lineWriter calls line for every line that is written to it, without the line
// end.
type lineWriter struct {
	line func(string)

	mu      sync.Mutex
	partial []byte
}

func (w *lineWriter) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = append(w.partial, text...)
	for {
		line, rest, found := strings.Cut(string(w.partial), "\n")
		if !found {
			return len(text), nil
		}
		w.line(line)
		w.partial = []byte(rest)
	}
}
