package gateway

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// logFormat is level, component and message, the latter without line ends.
	logFormat = "%l\t%n\t%j"

	// No more than maxLines in a window are logged: Envoy can write the same line for
	// each request.
	maxLines  = 100
	window    = 10 * time.Second
	maxLine   = 4 << 10 // bytes; the rest of a line is cut off
	lastWords = 5       // lines
)

// envoyLog is an io.Writer that makes log entries of Envoy's standard error.
type envoyLog struct {
	log logr.Logger
	now func() time.Time

	mu           sync.Mutex
	exitExpected bool   // Envoy is being stopped: its errors are not news
	partial      []byte // the beginning of an unfinished line
	recent       []string
	began        time.Time // of the window
	passed       int       // in the window
	suppressed   int
}

// Write implements io.Writer. It never fails: an error would stop Envoy.
func (l *envoyLog) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := text; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		l.partial = append(l.partial, line[:min(len(line), maxLine-len(l.partial))]...)
		if whole {
			l.logLine(string(l.partial))
			l.partial = l.partial[:0]
		}
		rest = after
	}
	return len(text), nil
}

// expectExit says that Envoy is about to be stopped.
func (l *envoyLog) expectExit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exitExpected = true
}

// lastLines tells people the newest lines.
func (l *envoyLog) lastLines() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.logLine(string(l.partial))
		l.partial = nil
	}
	if len(l.recent) == 0 {
		return "none"
	}
	return strings.Join(l.recent, "; ")
}

// workInProgress is in Envoy's warnings, for each new listener, about parts of its
// configuration that may change with its release. Package xds/envoy chooses to use them,
// and an operator can do nothing about it.
const workInProgress = "marked as work-in-progress"

func (l *envoyLog) logLine(line string) {
	level, component, message := split(line)
	if message == "" {
		return
	}
	if l.recent = append(l.recent, message); len(l.recent) > lastWords {
		l.recent = l.recent[1:]
	}
	if now := l.now(); now.Sub(l.began) > window {
		if l.suppressed > 0 {
			l.log.Info("lines of envoy were left out", "lines", l.suppressed)
		}
		l.began, l.passed, l.suppressed = now, 0, 0
	}
	if l.passed++; l.passed > maxLines {
		l.suppressed++
		return
	}
	log := l.log.WithValues("component", component, "message", message)
	if l.exitExpected || strings.Contains(message, workInProgress) {
		level = "info"
	}
	switch level {
	case "error", "critical":
		log.Error(errors.New(level), "envoy reports an error")
	case "warning":
		log.Info("envoy warns")
	case "info":
		log.V(1).Info("envoy says")
	default:
		log.V(2).Info("envoy says")
	}
}

// split takes a line of logFormat apart. A line of another form, as the output of a
// crashing C library, is a warning as a whole.
func split(line string) (level, component, message string) {
	level, rest, ok := strings.Cut(line, "\t")
	component, message, ok2 := strings.Cut(rest, "\t")
	if !ok || !ok2 {
		return "warning", "", strings.TrimSpace(line)
	}
	if plain, err := strconv.Unquote(`"` + message + `"`); err == nil {
		message = plain
	}
	return level, component, message
}
