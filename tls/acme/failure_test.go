package acme_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/test/acme"
	ours "github.com/fairwaynet/fairway/tls/acme"
)

// A name that leads elsewhere: one order a try, on the schedule, over restarts;
// and the text says which name and what to do.
func TestFailedValidationsAreTriedOnTheSchedule(t *testing.T) {
	s := newSite(t, acme.Options{})
	s.authority.SetAddresses(t, "away.test", "127.0.0.9") // nobody listens there
	now := &clock{}
	account := newAccount(t)
	client := newClient(t, s.settings(ours.HTTP01), account, now, nil)
	order := plan(t, client, "", "away.test", "shop.test")
	var lastKey secret.Bytes
	for tries, want := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour, 24 * time.Hour} {
		order = s.run(client, now, order, ours.Failed)
		wait := order.Due.Sub(now.now())
		if wait < want-time.Minute || wait > want+want/10 {
			t.Errorf("try %d: the next is in %s, want %s", tries+1, wait, want)
		}
		text := order.Failure.Text
		if !strings.HasPrefix(text, "away.test by http-01: ") || !strings.Contains(text, "(connection)") ||
			!strings.Contains(text, "check that the name's addresses in DNS lead to a gateway") {
			t.Errorf("it says %q", text)
		}
		if order.Failures != tries+1 || s.authority.Orders() != tries+1 || order.Failure.Kind != ours.Refused {
			t.Errorf("failures %d, orders %d, %s", order.Failures, s.authority.Orders(), order.Failure.Kind)
		}
		if order.Key.Equal(lastKey) {
			t.Error("the key is that of the attempt before")
		}
		lastKey = order.Key
		client = newClient(t, s.settings(ours.HTTP01), account, now, refusing{})
		for range 3 { // before it is due, it asks nobody
			next, err := client.Advance(t.Context(), order, s)
			if err != nil || next.Due != order.Due {
				t.Fatalf("before it was due: %v", err)
			}
		}
		client = newClient(t, s.settings(ours.HTTP01), account, now, nil)
		// A clock that jumps for days would leave the authority's behind.
		order.Due = now.now()
		if order, _ = client.Advance(t.Context(), order, s); order.State != ours.Planned {
			t.Fatalf("when it was due: %s", order.State)
		}
	}
	s.authority.SetAddresses(t, "away.test", "127.0.0.1")
	order = s.run(client, now, order, ours.Done)
	if order.Failures != 0 || order.Failure != nil {
		t.Errorf("after success: %d failures, %v", order.Failures, order.Failure)
	}
}

// refusing is a network that is away.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the network is away")
}

func TestAnotherChallengeIsTriedAfterAFailure(t *testing.T) {
	s := newSite(t, acme.Options{})
	s.silence(ours.HTTP01, true)
	now := &clock{}
	client := newClient(t, s.settings(ours.HTTP01, ours.TLSALPN01), newAccount(t), now, nil)
	order := s.run(client, now, plan(t, client, "", "shop.test"), ours.Failed)
	if !strings.HasPrefix(order.Failure.Text, "shop.test by http-01: ") || !strings.Contains(order.Failure.Text, "(unauthorized)") {
		t.Errorf("it says %q", order.Failure.Text)
	}
	s.check(s.run(client, now, order, ours.Done))
	if s.authority.Orders() != 2 {
		t.Errorf("%d orders", s.authority.Orders())
	}
}

// scripted answers some requests in the authority's place.
type scripted struct {
	http.RoundTripper
	answer func(*http.Request) *http.Response // nil: the authority answers
}

func (s scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer := s.answer(r); answer != nil {
		return answer, nil
	}
	return s.RoundTripper.RoundTrip(r)
}

func problem(r *http.Request, status int, kind, detail string, header http.Header) *http.Response {
	text := fmt.Sprintf(`{"type":"urn:ietf:params:acme:error:%s","detail":%q,"status":%d}`, kind, detail, status)
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: header, Request: r,
		Body: io.NopCloser(strings.NewReader(text)), ProtoMajor: 1, ProtoMinor: 1,
	}
}

func TestARateLimitIsKept(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	now := &clock{}
	limited := true
	transport := s.authority.Transport()
	defer transport.CloseIdleConnections()
	client := newClient(t, s.settings(), newAccount(t), now, scripted{transport, func(r *http.Request) *http.Response {
		if !limited || !strings.HasSuffix(r.URL.Path, "/order-plz") {
			return nil
		}
		return problem(r, http.StatusTooManyRequests, "rateLimited", "too many new orders recently", http.Header{"Retry-After": {"7200"}})
	}})
	order, err := client.Advance(t.Context(), plan(t, client, "", "shop.test"), s)
	var failure *ours.Failure
	if !errors.As(err, &failure) || failure.Kind != ours.RateLimited || !strings.Contains(failure.Text, "too many new orders recently") {
		t.Fatalf("error %v", err)
	}
	if wait := order.Due.Sub(now.now()); wait < 119*time.Minute || wait > 121*time.Minute || order.State != ours.Planned {
		t.Errorf("%s, due in %s", order.State, wait)
	}
	limited = false
	s.check(s.run(client, now, order, ours.Done))
	if s.authority.Orders() != 1 {
		t.Errorf("%d orders", s.authority.Orders())
	}
}

func TestWhatAnAuthoritySaysIsBounded(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	transport := s.authority.Transport()
	defer transport.CloseIdleConnections()
	endless := func(r *http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r, Body: io.NopCloser(zeros{}), ProtoMajor: 1, ProtoMinor: 1}
	}
	client := newClient(t, s.settings(), newAccount(t), &clock{}, scripted{transport, endless})
	if _, err := client.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("an endless answer: %v", err)
	}
	long := func(r *http.Request) *http.Response {
		return problem(r, http.StatusForbidden, "unauthorized", strings.Repeat("long \x1b[31m", 10_000), nil)
	}
	client = newClient(t, s.settings(), newAccount(t), &clock{}, scripted{transport, long})
	if _, err := client.Check(t.Context()); err == nil || len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("a long answer: %v", err)
	}
}

// hanging never answers.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Who waits behind somebody else's question waits no longer than it wants, and
// an order whose step was given up is as it was.
func TestAnAuthorityThatHangs(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	client := newClient(t, s.settings(), newAccount(t), &clock{}, hanging{})
	order := plan(t, client, "", "shop.test")
	long, giveUp := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() { client.Check(long) }) //nolint:errcheck // it hangs
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	again, err := client.Advance(short, order, s)
	if !errors.Is(err, context.DeadlineExceeded) || !reflect.DeepEqual(stored(t, again).Want, order.Want) || again.Failure != nil {
		t.Errorf("it returns %v; %+v", err, again)
	}
	if client.Account().URL != "" {
		t.Error("it has an account")
	}
	giveUp()
	waiting.Wait()
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
