package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/xds/route"
)

// maxNames is how many hosts the first line names.
const maxNames = 10

// console writes the standard error of fairway serve. It tells people, one line
// per event, what is live and what is wrong. In JSON format the same events are
// log entries. It subscribes to a report.Reporter.
type console struct {
	to     io.Writer
	log    *logr.Logger // for JSON, otherwise nil
	now    func() time.Time
	locate func(problem.Problem) (folder.Place, bool)

	mu       sync.Mutex
	begun    bool
	values   map[route.Key]*route.Host // published
	waiting  map[route.Key]time.Time   // since when a change has been under way
	backends map[route.ServicePort]*route.Backend
	wrong    map[spot]int // the number of Problems
}

// spot is the place of a Problem.
type spot struct {
	object problem.Object
	field  string
}

func newConsole(to io.Writer, format string, log logr.Logger) *console {
	n := &console{
		to: to, now: time.Now,
		values: map[route.Key]*route.Host{}, waiting: map[route.Key]time.Time{}, backends: map[route.ServicePort]*route.Backend{},
		wrong: map[spot]int{},
	}
	if format == "json" {
		n.log = &log
	}
	return n
}

// say writes one event, as a line or as a log entry with its pairs.
func (n *console) say(line string, event string, pairs ...any) {
	if n.log != nil {
		n.log.Info(event, pairs...)
		return
	}
	fmt.Fprintf(n.to, "%s %s\n", n.now().Format(time.TimeOnly), line)
}

// start says that everything found at the start is served. From then on the
// console reports changes.
func (n *console) start(folder string, urls []string, problems int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begun = true
	clear(n.waiting)
	hosts := make([]string, 0, len(n.values))
	for key := range n.values {
		hosts = append(hosts, string(key.Host))
	}
	slices.Sort(hosts)
	if n.log != nil {
		n.log.Info("serving", "folder", folder, "urls", urls, "hosts", len(hosts), "problems", problems)
		return
	}
	line := fmt.Sprintf("serving %s on %s: %s", folder, strings.Join(urls, " and "), count(len(hosts), "host"))
	if len(hosts) > 0 {
		line += " (" + names(hosts) + ")"
	}
	if problems > 0 {
		line += ", " + count(problems, "problem")
	}
	n.say(line, "")
}

// beside says which parts of the files are not served although they are correct.
func (n *console) beside(s check.Skipped) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.log != nil {
		if len(s.Over)+len(s.Classes) > 0 {
			n.log.Info("not everything in the files is served", "passedOver", s.Over, "otherClasses", s.Classes)
		}
		return
	}
	for _, line := range s.Lines() {
		n.say(line, "")
	}
}

// waits says what delays the start.
func (n *console) waits(reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.say("not yet serving: "+reason, "not yet serving", "reason", reason)
}

// names lists the first few hosts.
func names(hosts []string) string {
	if len(hosts) > maxNames {
		return strings.Join(hosts[:maxNames], " ") + " …"
	}
	return strings.Join(hosts, " ")
}

// hosts are the published hosts.
func (n *console) hosts() []route.Key {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.values))
}

// served reports that a host, or its removal, is live.
func (n *console) served(key route.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, ok := n.waiting[key]
	if !ok || !n.begun {
		return
	}
	delete(n.waiting, key)
	took := n.now().Sub(since).Round(time.Millisecond)
	what := "live"
	if n.values[key] == nil {
		what = "gone"
	}
	n.say(fmt.Sprintf("%s: %s (%s)", what, key.Host, took), "host is "+what, "host", string(key.Host), "after", took.String())
}

// Appeared implements report.Subscriber.
func (n *console) Appeared(_ context.Context, p problem.Problem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wrong[spot{p.Object, p.Field}]++
	n.tell("problem", "problem appeared", p)
}

// Resolved implements report.Subscriber. In text format it calls a field mended
// only when the field has no Problem left: people have just read about any other
// Problem of the field.
func (n *console) Resolved(_ context.Context, p problem.Problem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := spot{p.Object, p.Field}
	if n.wrong[at]--; n.wrong[at] > 0 && n.log == nil {
		return
	}
	if n.wrong[at] == 0 {
		delete(n.wrong, at)
	}
	n.tell("mended", "problem resolved", p)
}

func (n *console) tell(what, event string, p problem.Problem) {
	f := check.FindingOf(n.locate, p)
	n.say(what+": "+f.String(), event, "file", f.File, "line", f.Line, "kind", f.Kind, "object", p.Object.String(),
		"field", f.Field, "reason", f.Reason, "problem", f.Message)
}

// publisher wraps to and notes the changes that are published.
func (n *console) publisher(to edge.Publisher) edge.Publisher {
	return &narrated{Publisher: to, narrator: n}
}

type narrated struct {
	edge.Publisher
	narrator *console
}

// PublishHost implements edge.Publisher.
func (p *narrated) PublishHost(key route.Key, host *route.Host) {
	p.narrator.publishes(key, host)
	p.Publisher.PublishHost(key, host)
}

// PublishBackend implements edge.Publisher.
func (p *narrated) PublishBackend(port route.ServicePort, backend *route.Backend) {
	p.Publisher.PublishBackend(port, backend)
	p.narrator.publishesBackend(port, backend)
}

func (n *console) publishes(key route.Key, host *route.Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if reflect.DeepEqual(n.values[key], host) {
		return
	}
	if host == nil {
		delete(n.values, key)
	} else {
		n.values[key] = host
	}
	if _, ok := n.waiting[key]; !ok {
		n.waiting[key] = n.now()
	}
}

func (n *console) publishesBackend(port route.ServicePort, backend *route.Backend) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.backends[port]
	if backend == nil {
		delete(n.backends, port)
		return
	}
	n.backends[port] = backend
	if n.begun && !reflect.DeepEqual(before, backend) {
		n.say(fmt.Sprintf("endpoints: %s has %s", port, count(len(backend.Endpoints), "endpoint")),
			"endpoints changed", "port", port.String(), "endpoints", len(backend.Endpoints))
	}
}

// onlyErrors drops all log entries except errors.
func onlyErrors(log logr.Logger) logr.Logger {
	return logr.FromSlogHandler(errorsOnly{logr.ToSlogHandler(log)})
}

type errorsOnly struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h errorsOnly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError && h.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h errorsOnly) WithAttrs(attributes []slog.Attr) slog.Handler {
	return errorsOnly{h.Handler.WithAttrs(attributes)}
}

// WithGroup implements slog.Handler.
func (h errorsOnly) WithGroup(name string) slog.Handler { return errorsOnly{h.Handler.WithGroup(name)} }
