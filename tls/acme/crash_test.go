package acme_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/acme"
	ours "github.com/fairwaynet/fairway/tls/acme"
)

// fault is what happens to one HTTP call.
type fault int

const (
	none       fault = iota
	unsent           // the authority never hears of it
	unanswered       // it does what it is asked, and the answer is lost
)

func (f fault) String() string { return [...]string{"none", "unsent", "unanswered"}[f] }

var errFault = errors.New("the connection is gone")

// faulty is a network that decides for each call what becomes of it.
type faulty struct {
	http.RoundTripper
	mu     sync.Mutex
	calls  int
	next   func(call int) fault
	struck int // calls that were lost
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	what := f.next(f.calls)
	f.calls++
	if what != none {
		f.struck++
	}
	f.mu.Unlock()
	if what == unsent {
		return nil, errFault
	}
	answer, err := f.RoundTripper.RoundTrip(r)
	if err != nil || what == none {
		return answer, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return nil, errors.Join(errFault, err, answer.Body.Close())
}

// life is an order in the hands of processes that crash.
type life struct {
	*site
	t        testing.TB
	now      *clock
	account  ours.Account // as it was saved: its key
	network  *faulty
	crashing bool // a lost call ends the process; else it goes on with the error
	client   *ours.Client
}

// boot is a process that starts: it knows what was saved, and nothing else.
func (l *life) boot() {
	l.client = newClient(l.t, l.settings(ours.HTTP01), l.account, l.now, l.network)
}

// live takes an order from its plan to the certificate. What a step returned is
// saved unless the process has crashed in it, or lose says so.
func (l *life) live(name string, lose func(step int) bool) ours.Order {
	l.boot()
	saved := stored(l.t, plan(l.t, l.client, "", name))
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for step := 0; saved.State != ours.Done; step++ {
		if time.Now().After(deadline) {
			l.t.Fatalf("the order is %s, and waits for %q; %v", saved.State, saved.Waiting, saved.Failure)
		}
		l.answer(saved.Challenges())
		l.now.to(saved.Due)
		struck := l.network.struck
		next, err := l.client.Advance(context.Background(), saved, l)
		var failure *ours.Failure
		if err != nil && (!errors.As(err, &failure) || failure.Kind != ours.Temporary) {
			l.t.Fatalf("in state %s: %v", saved.State, err)
		}
		switch crashed := l.crashing && l.network.struck > struck; {
		case crashed:
			l.boot()
		case lose(step):
			if l.crashing {
				l.boot()
			}
		default:
			saved = stored(l.t, next)
		}
		if next.Waiting != "" {
			<-tick.C // the authority is at work
		}
	}
	return saved
}

// verify looks at what a life has left behind.
func (l *life) verify(order ours.Order, orders, issued int) {
	l.t.Helper()
	l.check(order)
	if orders != 1 || issued != 1 {
		l.t.Errorf("%d orders were placed, and %d certificates issued", orders, issued)
	}
}

func never(int) bool { return false }

func atCall(n int, what fault) func(int) fault {
	return func(call int) fault {
		if call == n {
			return what
		}
		return none
	}
}

// A fault between every two HTTP calls of an order, from the first look at the
// directory to the download, in every way that it can happen: there is exactly
// one order, and its certificate arrives.
func TestAFaultAtEachCall(t *testing.T) {
	s := newSite(t, acme.Options{})
	transport := s.authority.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	for _, what := range []fault{unsent, unanswered} {
		for _, crashing := range []bool{true, false} {
			name := fmt.Sprintf("%s crash=%t", what, crashing)
			t.Run(name, func(t *testing.T) {
				lost, done := 0, 0
				for n := 0; done < 5; n++ { // lives differ in length: nonces are refused by chance
					l := &life{site: s, t: t, now: &clock{}, account: newAccount(t), crashing: crashing}
					l.network = &faulty{RoundTripper: transport, next: atCall(n, what)}
					orders, issued := s.authority.Orders(), s.authority.Issued()
					order := l.live("shop.test", never)
					l.verify(order, s.authority.Orders()-orders, s.authority.Issued()-issued)
					if t.Failed() {
						t.Fatalf("with call %d %s", n, what)
					}
					if lost += l.network.struck; l.network.struck == 0 { // it was done before it came to that
						done++
					}
				}
				t.Logf("%d calls were lost, one in each life", lost)
				if lost < 10 {
					t.Errorf("only %d calls", lost)
				}
			})
		}
	}
}

// A process that ends after a step and before it has saved it, and one that
// cannot save and goes on: again one order.
func TestAStepThatIsNotSaved(t *testing.T) {
	s := newSite(t, acme.Options{})
	transport := s.authority.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	for _, crashing := range []bool{true, false} {
		t.Run(fmt.Sprintf("crash=%t", crashing), func(t *testing.T) {
			for lost := range 12 {
				l := &life{site: s, t: t, now: &clock{}, account: newAccount(t), crashing: crashing}
				l.network = &faulty{RoundTripper: transport, next: atCall(-1, none)}
				orders, issued := s.authority.Orders(), s.authority.Issued()
				order := l.live("shop.test", func(step int) bool { return step == lost })
				l.verify(order, s.authority.Orders()-orders, s.authority.Issued()-issued)
				if t.Failed() {
					t.Fatalf("with step %d lost", lost)
				}
			}
		})
	}
}

// A network that loses every fifth call, and processes that crash at each.
func TestManyFaults(t *testing.T) {
	s := newSite(t, acme.Options{})
	transport := s.authority.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 0))
		l := &life{site: s, t: t, now: &clock{}, account: newAccount(t), crashing: seed%2 == 0}
		l.network = &faulty{RoundTripper: transport, next: func(int) fault {
			if random.IntN(5) > 0 {
				return none
			}
			return fault(1 + random.IntN(2))
		}}
		orders, issued := s.authority.Orders(), s.authority.Issued()
		order := l.live("shop.test", func(int) bool { return random.IntN(5) == 0 })
		l.verify(order, s.authority.Orders()-orders, s.authority.Issued()-issued)
		if t.Failed() {
			t.Fatalf("seed %d, %d of %d calls lost", seed, l.network.struck, l.network.calls)
		}
	}
}

// The search goes over all pages of the account's orders: those before it.
func TestAnOrderIsFoundAmongMany(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	transport := s.authority.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	l := &life{site: s, t: t, now: &clock{}, account: newAccount(t)}
	l.network = &faulty{RoundTripper: transport, next: atCall(-1, none)}
	l.boot()
	for n := range 7 { // Pebble lists 3 a page
		s.issue(l.client, l.now, "", fmt.Sprintf("before%d.test", n))
	}
	before := s.authority.Orders()
	planned := stored(t, plan(t, l.client, "", "shop.test"))
	if _, err := l.client.Advance(t.Context(), planned, s); err != nil { // its answer is not saved
		t.Fatal(err)
	}
	l.boot()
	s.check(s.run(l.client, l.now, planned, ours.Done))
	if n := s.authority.Orders() - before; n != 1 {
		t.Errorf("%d orders", n)
	}
}
