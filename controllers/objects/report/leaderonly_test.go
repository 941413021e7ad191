package report_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/report"
)

// ear records what it hears.
type ear struct{ heard []string }

func (e *ear) Appeared(_ context.Context, p problem.Problem) {
	e.heard = append(e.heard, "+"+p.Message)
}
func (e *ear) Resolved(_ context.Context, p problem.Problem) {
	e.heard = append(e.heard, "-"+p.Message)
}

func of(message string) problem.Problem { return problem.Problem{Message: message} }

// A replica that does not lead passes nothing on. When it begins to lead, it
// passes on what appeared just before, and from then on everything.
func TestOnlyTheLeaderTells(t *testing.T) {
	now := time.Unix(0, 0)
	heard := &ear{}
	led := &report.LeaderOnly{To: heard, Now: func() time.Time { return now }}
	led.Appeared(t.Context(), of("old"))
	now = now.Add(2 * time.Minute)
	led.Appeared(t.Context(), of("new"))
	led.Appeared(t.Context(), of("mended"))
	led.Resolved(t.Context(), of("mended"))
	ctx, resign := context.WithCancel(t.Context())
	resign()
	if err := led.Lead(ctx); err != nil { // a term that ends as it begins
		t.Fatal(err)
	}
	led.Appeared(t.Context(), of("after"))
	if diff := cmp.Diff([]string{"+new"}, heard.heard); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// store is an API server's events.
type store struct {
	record.EventSink

	events map[string]int
}

func (s *store) Create(event *corev1.Event) (*corev1.Event, error) {
	if s.events[event.Name]++; s.events[event.Name] > 1 {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, event.Name)
	}
	return event, nil
}

// The leader does not write again what another replica has written.
func TestEqualEventsAreOne(t *testing.T) {
	s := &store{events: map[string]int{}}
	sink := report.Once{EventSink: s}
	event := func(name, message string) *corev1.Event {
		e := &corev1.Event{Reason: "BackendNotFound", Message: message, InvolvedObject: corev1.ObjectReference{Kind: "Ingress", Name: "shop", UID: "1"}}
		e.Name = name
		return e
	}
	for _, e := range []*corev1.Event{event("shop.1", "no port"), event("shop.2", "no port"), event("shop.3", "no service")} {
		if _, err := sink.Create(e); err != nil {
			t.Error(err)
		}
	}
	if len(s.events) != 2 {
		t.Errorf("events %v, want 2", s.events)
	}
}
