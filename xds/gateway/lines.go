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

	// No more than maxLines in a window are passed on: Envoy can say the same
	// thing once per request.
	maxLines  = 100
	window    = 10 * time.Second
	maxLine   = 4 << 10 // bytes; the rest of a line is cut off
	lastWords = 5       // lines
)

// lines is an io.Writer that makes log entries of what Envoy writes to its
// standard error.
type lines struct {
	log logr.Logger
	now func() time.Time

	mu         sync.Mutex
	expected   bool   // Envoy ends because we want it: nothing of it is news
	partial    []byte // a line whose end has not come yet
	recent     []string
	began      time.Time // of the window
	passed     int       // in the window
	suppressed int
}

// Write implements io.Writer. It never fails: Envoy must not stand still
// because nobody listens.
func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := text; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		l.partial = append(l.partial, line[:min(len(line), maxLine-len(l.partial))]...)
		if whole {
			l.pass(string(l.partial))
			l.partial = l.partial[:0]
		}
		rest = after
	}
	return len(text), nil
}

// expect says that Envoy is about to be ended.
func (l *lines) expect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = true
}

// last are the newest lines, for people.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.pass(string(l.partial))
		l.partial = nil
	}
	if len(l.recent) == 0 {
		return "none"
	}
	return strings.Join(l.recent, "; ")
}

// unfinished is what Envoy says, for each listener that it gets, of parts of its
// configuration that may change with its release. Which of them are used is chosen by
// who renders them and not by an operator, who could do nothing about it.
const unfinished = "marked as work-in-progress"

func (l *lines) pass(line string) {
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
	if l.expected || strings.Contains(message, unfinished) {
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

// split takes a line of logFormat apart. What has another form, as the output
// of a crashing C library, is a warning as a whole.
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
