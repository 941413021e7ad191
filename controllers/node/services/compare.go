package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/service"
)

// The rhythm of comparisons. A change that the agent has missed is found within ten minutes,
// and nothing counts as missed before it has been so for 90 s. Agents of many nodes do not
// ask at once.
const (
	leastBetween, mostBetween = 7 * time.Minute, 8 * time.Minute
	firstPause, secondPause   = 30 * time.Second, time.Minute
	farewell                  = 5 * time.Second // until the event is written
)

// What a comparison asks the API server for, at most.
const (
	pageSize    = 500
	mostSingles = 100 // of objects that seem to differ
)

// ErrOutOfDate says that a node does not serve what the API server has.
var ErrOutOfDate = errors.New("what the agent knows of Services is out of date, and only a start makes it right")

// Comparison looks whether what a node serves is what the API server has. It asks the API
// server itself, for names and versions: a cache that has lost an event does not know. It
// mends nothing, because whatever has lost one event cannot be trusted with the next.
type Comparison struct {
	// Reconciler has the cache, and says what should have been published.
	Reconciler *Reconciler
	// Live asks the API server.
	Live client.Reader
	// Published returns what was published of all Services.
	Published func() map[Key]*service.Service
	// Suspected hears how many objects seem to differ, each time that it was looked at them.
	Suspected func(objects int)
	// Compared hears the outcome of each comparison: the error says why there is none.
	Compared func(ctx context.Context, differences []Difference, err error)
	// Wait waits for some time between two, or until ctx ends; nil: it does.
	Wait func(ctx context.Context, least, most time.Duration)
}

// Difference is an object of which the agent is not up to date.
type Difference struct {
	Object problem.Object
	// What is the difference, in words that follow the object.
	What string
}

// String is "Service shop/web (the agent has none, the API server version 7)".
func (d Difference) String() string {
	return fmt.Sprintf("%s %s %s", d.Object.Kind, d.Object.Name, d.What)
}

// Run compares until ctx ends, or something differs and stays so. Then its error wraps
// ErrOutOfDate.
func (c *Comparison) Run(ctx context.Context) error {
	for c.wait(ctx, 0, mostBetween); ctx.Err() == nil; c.wait(ctx, leastBetween, mostBetween) {
		differences, err := c.compare(ctx)
		if ctx.Err() == nil { // else there is nothing to tell
			c.Compared(ctx, differences, err)
		}
		if len(differences) > 0 {
			c.wait(ctx, farewell, farewell)
			return fmt.Errorf("%w: %s", ErrOutOfDate, Describe(differences))
		}
	}
	return nil
}

// Describe names some differences, and how many more there are.
func Describe(all []Difference) string {
	const most = 3
	var texts []string
	for _, d := range all[:min(len(all), most)] {
		texts = append(texts, d.String())
	}
	text := strings.Join(texts, ", ")
	if more := len(all) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (c *Comparison) wait(ctx context.Context, least, most time.Duration) {
	if c.Wait != nil {
		c.Wait(ctx, least, most)
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(least + rand.N(most-least+1)):
	}
}

// compare looks three times: what differs at first may be on its way.
func (c *Comparison) compare(ctx context.Context) ([]Difference, error) {
	s, err := c.look(ctx)
	for _, pause := range []time.Duration{firstPause, secondPause} {
		if err != nil || s.empty() {
			break
		}
		c.wait(ctx, pause, pause)
		err = c.lookAgain(ctx, s)
		c.Suspected(len(s.objects) + len(s.services))
	}
	if err != nil {
		return nil, fmt.Errorf("compare Services with those of the API server: %w", err)
	}
	return s.differences(), nil
}

// look compares everything.
func (c *Comparison) look(ctx context.Context) (*suspects, error) {
	s := &suspects{map[problem.Object]pair{}, map[Key]*service.Service{}}
	for _, kind := range comparedKinds() {
		here, err := c.here(ctx, kind)
		if err != nil {
			return nil, err
		}
		suspect := func(name Key, p pair) { s.objects[problem.Object{Kind: kind.kind.Kind, Name: name}] = p }
		err = c.list(ctx, kind.kind, func(name Key, there identity) {
			if here[name] != there {
				suspect(name, pair{here[name], there})
			}
			delete(here, name)
		})
		if err != nil {
			return nil, err
		}
		for name, has := range here {
			suspect(name, pair{here: has})
		}
	}
	published := c.Published()
	names, err := c.Reconciler.Keys(ctx)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name Key) bool { return published[name] != nil })
	for _, name := range slices.AppendSeq(names, maps.Keys(published)) {
		served, err := c.served(ctx, name, published[name])
		if err != nil {
			return nil, err
		}
		if !served {
			s.services[name] = published[name]
		}
	}
	return s, nil
}

// list lists the objects of a kind that a cache of an agent keeps, as the API server has them.
// It reads page by page, from the latest state: pages of any state come all at once.
func (c *Comparison) list(ctx context.Context, kind schema.GroupVersionKind, each func(Key, identity), only ...client.ListOption) error {
	selector, err := kept()
	if err != nil {
		return err
	}
	for page := ""; ; {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		options := append([]client.ListOption{
			client.MatchingLabelsSelector{Selector: selector}, client.Limit(pageSize), client.Continue(page),
		}, only...)
		err := c.Live.List(ctx, list, options...)
		if err != nil {
			return fmt.Errorf("list kind %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			each(client.ObjectKeyFromObject(&list.Items[i]), identityOf(&list.Items[i]))
		}
		if page = list.Continue; page == "" {
			return nil
		}
	}
}

// lookAgain leaves those of the suspects that have not moved here since, and differ still.
func (c *Comparison) lookAgain(ctx context.Context, s *suspects) error {
	asked := 0
	for _, kind := range comparedKinds() {
		here, err := c.here(ctx, kind)
		if err != nil {
			return err
		}
		for object, p := range s.objects {
			switch {
			case object.Kind != kind.kind.Kind:
				continue
			case here[object.Name] != p.here, asked == mostSingles: // enough are left to say that something differs
				delete(s.objects, object)
				continue
			}
			asked++
			if err := c.ask(ctx, kind.kind, object, s); err != nil {
				return err
			}
		}
	}
	return c.buildAgain(ctx, s)
}

// ask leaves a suspect that differs from what the API server has.
func (c *Comparison) ask(ctx context.Context, kind schema.GroupVersionKind, object problem.Object, s *suspects) error {
	there, err := c.there(ctx, kind, object.Name)
	if err != nil {
		return err
	}
	p := pair{s.objects[object].here, there}
	if s.objects[object] = p; p.here == p.there {
		delete(s.objects, object)
	}
	return nil
}

// buildAgain leaves Services for which nothing was published since, and something should.
func (c *Comparison) buildAgain(ctx context.Context, s *suspects) error {
	published := c.Published()
	for name, before := range s.services {
		served, err := c.served(ctx, name, before)
		if err != nil {
			return err
		}
		if served || published[name] != before {
			delete(s.services, name)
		}
	}
	return nil
}

// there is what the API server has of one object. It is listed, too: an agent has no right to
// get one.
func (c *Comparison) there(ctx context.Context, kind schema.GroupVersionKind, name Key) (found identity, err error) {
	err = c.list(ctx, kind, func(_ Key, there identity) { found = there },
		client.InNamespace(name.Namespace), client.MatchingFields{metav1.ObjectNameField: name.Name})
	return found, err
}

// served says whether what was published of a Service is what the cache's objects say.
func (c *Comparison) served(ctx context.Context, name Key, published *service.Service) (bool, error) {
	built, _, err := c.Reconciler.Build(ctx, name)
	if err != nil {
		return false, err
	}
	return built == nil && published == nil || reflect.DeepEqual(built, published), nil
}
