// Package console tells people, line by line, what a controller that runs in the
// foreground does: which hosts are live, and what is wrong with which file.
//
// It decides nothing and keeps nothing from being published. Its invariant: it tells
// of each change once, when every Envoy has accepted it.
package console

import (
	"context"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/xds/route"
)

// Console writes the standard error of fairway serve. It tells people, one line
// per event, what is live and what is wrong. In JSON format the same events are
// log entries. It subscribes to a report.Reporter.
type Console struct {
	to  io.Writer
	log *logr.Logger // for JSON, otherwise nil
	now func() time.Time
	// Locate says where a Problem is. Set it before the first event.
	Locate func(problem.Problem) (folder.Place, bool)

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

// New is a Console that writes to to. The format is text or json; log is for json.
func New(to io.Writer, format string, log logr.Logger) *Console {
	n := &Console{
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
func (c *Console) say(line string, event string, pairs ...any) {
	if c.log != nil {
		c.log.Info(event, pairs...)
		return
	}
	fmt.Fprintf(c.to, "%s %s\n", c.now().Format(time.TimeOnly), line)
}

// Start says that everything found at the start is served. From then on the
// Console reports changes.
func (c *Console) Start(folder string, urls []string, problems int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	clear(c.waiting)
	hosts := make([]string, 0, len(c.values))
	for key := range c.values {
		hosts = append(hosts, string(key.Host))
	}
	slices.Sort(hosts)
	if c.log != nil {
		c.log.Info("serving", "folder", folder, "urls", urls, "hosts", len(hosts), "problems", problems)
		return
	}
	line := fmt.Sprintf("serving %s on %s: %s", folder, strings.Join(urls, " and "), wording.Count(len(hosts), "host"))
	if len(hosts) > 0 {
		line += " (" + wording.First(hosts) + ")"
	}
	if problems > 0 {
		line += ", " + wording.Count(problems, "problem")
	}
	c.say(line, "")
}

// Beside says which parts of the files are not served although they are correct.
func (c *Console) Beside(s check.Skipped) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		if len(s.Over)+len(s.Classes) > 0 {
			c.log.Info("not everything in the files is served", "passedOver", s.Over, "otherClasses", s.Classes)
		}
		return
	}
	for _, line := range s.Lines() {
		c.say(line, "")
	}
}

// Waits says what delays the start.
func (c *Console) Waits(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.say("not yet serving: "+reason, "not yet serving", "reason", reason)
}

// Hosts are the published hosts.
func (c *Console) Hosts() []route.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.values))
}

// Served reports that a host, or its removal, is live.
func (c *Console) Served(key route.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, ok := c.waiting[key]
	if !ok || !c.begun {
		return
	}
	delete(c.waiting, key)
	took := c.now().Sub(since).Round(time.Millisecond)
	what := "live"
	if c.values[key] == nil {
		what = "gone"
	}
	c.say(fmt.Sprintf("%s: %s (%s)", what, key.Host, took), "host is "+what, "host", string(key.Host), "after", took.String())
}

// Appeared implements report.Subscriber.
func (c *Console) Appeared(_ context.Context, p problem.Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong[spot{p.Object, p.Field}]++
	c.tell("problem", "problem appeared", p)
}

// Resolved implements report.Subscriber. In text format it calls a field mended
// only when the field has no Problem left: people have just read about any other
// Problem of the field.
func (c *Console) Resolved(_ context.Context, p problem.Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := spot{p.Object, p.Field}
	if c.wrong[at]--; c.wrong[at] > 0 && c.log == nil {
		return
	}
	if c.wrong[at] == 0 {
		delete(c.wrong, at)
	}
	c.tell("mended", "problem resolved", p)
}

func (c *Console) tell(what, event string, p problem.Problem) {
	f := check.FindingOf(c.Locate, p)
	c.say(what+": "+f.String(), event, "file", f.File, "line", f.Line, "kind", f.Kind, "object", p.Object.String(),
		"field", f.Field, "reason", f.Reason, "problem", f.Message)
}

// Publisher wraps to and notes the changes that are published.
func (c *Console) Publisher(to edge.Publisher) edge.Publisher {
	return &published{Publisher: to, console: c}
}

// published is a Publisher that tells the console.
type published struct {
	edge.Publisher
	console *Console
}

// PublishHost implements edge.Publisher.
func (p *published) PublishHost(key route.Key, host *route.Host) {
	p.console.publishes(key, host)
	p.Publisher.PublishHost(key, host)
}

// PublishBackend implements edge.Publisher.
func (p *published) PublishBackend(port route.ServicePort, backend *route.Backend) {
	p.Publisher.PublishBackend(port, backend)
	p.console.publishesBackend(port, backend)
}

func (c *Console) publishes(key route.Key, host *route.Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reflect.DeepEqual(c.values[key], host) {
		return
	}
	if host == nil {
		delete(c.values, key)
	} else {
		c.values[key] = host
	}
	if _, ok := c.waiting[key]; !ok {
		c.waiting[key] = c.now()
	}
}

func (c *Console) publishesBackend(port route.ServicePort, backend *route.Backend) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.backends[port]
	if backend == nil {
		delete(c.backends, port)
		return
	}
	c.backends[port] = backend
	if c.begun && !reflect.DeepEqual(before, backend) {
		c.say(fmt.Sprintf("endpoints: %s has %s", port, wording.Count(len(backend.Endpoints), "endpoint")),
			"endpoints changed", "port", port.String(), "endpoints", len(backend.Endpoints))
	}
}

// Event implements order.Events.
func (c *Console) Event(object runtime.Object, _, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := ""
	if ref, ok := object.(*corev1.ObjectReference); ok {
		of = ref.Kind + " " + ref.Namespace + "/" + ref.Name
	}
	c.say("certificate: "+of+": "+message, reason, "object", of, "event", message)
}
