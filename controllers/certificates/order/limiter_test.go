package order

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/tls/acme"
)

// desks are a Limiter with a clock, and the callers that it has woken.
type lanes struct {
	*testing.T
	Limiter

	now   time.Time
	woken []string
}

func newDesks(t *testing.T) *lanes {
	d := &lanes{T: t, now: time.Unix(1_800_000_000, 0)}
	d.Now = func() time.Time { return d.now }
	return d
}

func (d *lanes) take(who, issuer, directory string) *Permit {
	permit, _ := d.Take(who, Requester{issuer, directory}, func() { d.woken = append(d.woken, who) })
	return permit
}

// takes returns how many of n get a permit.
func (d *lanes) takes(n int, issuer, directory string) (limiter []*Permit) {
	for i := range n {
		if permit := d.take(fmt.Sprint(issuer, i), issuer, directory); permit != nil {
			limiter = append(limiter, permit)
		}
	}
	return limiter
}

// away is the failure of an authority that does not answer.
var away = context.DeadlineExceeded

// An authority that has not answered yet gets one permit at a time. Then it gets
// as many as allowed, and each Issuer up to its own bound.
func TestTurnsAreBounded(t *testing.T) {
	d := newDesks(t)
	first := d.takes(100, "a", "ca")
	if len(first) != 1 {
		t.Fatalf("%d ask one that nobody knows", len(first))
	}
	first[0].End(Outcome{})
	if n := len(d.takes(100, "a", "ca")); n != atIssuer {
		t.Errorf("%d of one Issuer ask, want %d", n, atIssuer)
	}
	other := d.takes(1, "b", "ca") // its Issuer is not known yet
	if len(other) != 1 {
		t.Fatal("another Issuer has no permit beside those")
	}
	other[0].End(Outcome{})
	if n := len(d.takes(100, "b", "ca")); n != atDirectory-atIssuer {
		t.Errorf("%d of the other Issuer ask, want %d", n, atDirectory-atIssuer)
	}
	if n := len(d.takes(100, "c", "other ca")); n != 1 {
		t.Errorf("%d ask another authority, want 1", n)
	}
}

// Waiting orders are woken in their order. An order that is gone holds none up.
func TestTheLineIsInOrder(t *testing.T) {
	d := newDesks(t)
	first := d.take("first", "a", "ca")
	for _, who := range []string{"gone", "second", "forgotten", "third"} {
		if d.take(who, "a", "ca") != nil {
			t.Fatalf("%s has a permit", who)
		}
	}
	d.Leave("gone")
	first.End(Outcome{Own: true}) // and so by one at a time
	if got := fmt.Sprint(d.woken); got != "[second]" {
		t.Errorf("woken: %s, want second", got)
	}
	if d.take("third", "a", "ca") != nil {
		t.Error("third is before second")
	}
	second := d.take("second", "a", "ca")
	second.End(Outcome{Own: true})
	d.now = d.now.Add(forgetAfter + time.Second)
	if d.take("third", "a", "ca") == nil {
		t.Error("one who does not come holds third up")
	}
}

// Once an authority does not answer, nobody asks it for a while, longer each time.
// The first answer ends that.
func TestOneBackOffForAll(t *testing.T) {
	d := newDesks(t)
	d.take("first", "a", "ca").End(Outcome{})
	before := time.Duration(0)
	for i := range 6 {
		limiter := d.takes(100, "a", "ca")
		want := atIssuer
		if i > 0 {
			want = 1
		}
		if len(limiter) != want {
			t.Fatalf("round %d: %d ask, want %d", i, len(limiter), want)
		}
		for _, permit := range limiter {
			permit.End(Outcome{Authority: away})
		}
		permit, denial := d.Take("another", Requester{"b", "ca"}, nil)
		pause := denial.Until.Sub(d.now)
		if permit != nil || denial.Failing == "" || denial.Failures != i+1 || pause < before || pause > 6*time.Minute {
			t.Errorf("round %d: refused for %s, %+v", i, pause, denial)
		}
		if tried, _ := d.Try(Requester{"b", "ca"}); tried != nil {
			t.Errorf("round %d: one that does not wait has a permit", i)
		}
		if d.take("elsewhere", "b", "other ca") == nil {
			t.Errorf("round %d: another authority is left alone too", i)
		}
		d.Limiter.directories["other ca"].busy = 0
		d.Limiter.issuers["b"].busy = 0
		before = pause
		d.now = denial.Until
	}
	probe := d.takes(100, "a", "ca")
	probe[0].End(Outcome{})
	if n := len(d.takes(100, "a", "ca")); n != atIssuer {
		t.Errorf("after it has answered %d ask, want %d", n, atIssuer)
	}
}

// A fault of a request, or of something else that an Issuer needs, is not held
// against the authority.
func TestWhatIsHeldAgainstAnAuthority(t *testing.T) {
	for _, c := range []struct {
		outcome Outcome
		next    int // permits that are free then
	}{
		{Outcome{}, atIssuer},
		{Outcome{Authority: &acme.Failure{Kind: acme.Refused, Text: "no"}}, atIssuer},
		{Outcome{Authority: &acme.Failure{Kind: acme.RateLimited, Text: "too many"}}, atIssuer},
		{Outcome{Authority: errors.New("ours")}, atIssuer},
		{Outcome{Own: true}, 1},
		{Outcome{Idle: true}, 1}, // nothing is known
		{Outcome{Authority: fmt.Errorf("order: %w", context.DeadlineExceeded)}, 0},
	} {
		d := newDesks(t)
		d.take("first", "a", "ca").End(c.outcome)
		if n := len(d.takes(100, "a", "ca")); n != c.next {
			t.Errorf("%+v: then %d ask, want %d", c.outcome, n, c.next)
		}
	}
}
