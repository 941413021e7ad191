package verifier_test

import (
	"encoding/pem"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/proof/verifier"
	"github.com/fairwaynet/fairway/xds/route"
)

const patience = 30 * time.Second

// bed is a verifier whose clock is that of synctest, and what it told.
type bed struct {
	*verifier.Verifier

	told []string
}

// The methods of verifier.Events.
func (b *bed) NotServed(name route.Hostname, detail string) { b.tell("%s: %q", name, detail) }
func (b *bed) WaitOver(host route.Hostname)                 { b.tell("%s waits no more", host) }
func (b *bed) Answered(bool)                                {}
func (b *bed) Served(after time.Duration)                   { b.tell("served after %s", after) }

func (b *bed) tell(format string, args ...any) { b.told = append(b.told, fmt.Sprintf(format, args...)) }

// hears demands that exactly this was told since it was asked last.
func (b *bed) hears(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(b.told, want) {
		t.Errorf("told %q, want %q", b.told, want)
	}
	b.told = nil
}

// inBubble runs a test in a bubble of synctest, in which one goroutine at a time is
// awake: no lock is needed.
func inBubble(t *testing.T, test func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{}
		b.Verifier = verifier.New(verifier.Config{
			Patience: patience, Now: time.Now, Events: b,
			After: func(d time.Duration, do func()) *time.Timer { return time.AfterFunc(d, do) },
		})
		test(t, b)
	})
}

// passes lets time pass.
func passes(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// certificate is one whose leaf holds some text.
func certificate(text string) *route.Certificate {
	return &route.Certificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}), Key: secret.New([]byte("key")),
	}
}

// connect is a session that has been told the age.
func (b *bed) connect(t *testing.T, proved map[string]string, wanted verifier.Certificates) *verifier.Session {
	t.Helper()
	s := b.Connect("gateway-0", proved, wanted, func() {})
	if first, ok := s.Next(); !ok || first.Name != "" || first.Removed != nil {
		t.Errorf("first is %+v, want nothing but the age", first)
	}
	return s
}

// asks demands that the next question is about a name.
func asks(t *testing.T, s *verifier.Session, name string) verifier.Question {
	t.Helper()
	q, ok := s.Next()
	if !ok || q.Name != name {
		t.Fatalf("asked is %+v (%t), want %s", q, ok, name)
	}
	return q
}

func isIdle(t *testing.T, s *verifier.Session) {
	t.Helper()
	if q, ok := s.Next(); ok {
		t.Errorf("asked is %+v, want nothing", q)
	}
}

func TestWhatFailsIsAskedForAgainAndReported(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := b.connect(t, nil, verifier.Certificates{"shop.test": certificate("x")})
		s.Failed(asks(t, s, "shop.test").Nonce, "another one")
		isIdle(t, s)
		for elapsed, wait := time.Duration(0), 250*time.Millisecond; elapsed < patience; wait *= 2 {
			passes(wait - time.Millisecond)
			isIdle(t, s)
			passes(time.Millisecond)
			elapsed += wait
			s.Failed(asks(t, s, "shop.test").Nonce, "another one")
		}
		b.hears(t, `shop.test: "gateway gateway-0: another one"`)
		if got, want := b.Count(), (verifier.States{Failing: 1}); got != want {
			t.Errorf("states %+v, want %+v", got, want)
		}
		passes(time.Minute)
		s.Proved(asks(t, s, "shop.test").Nonce)
		b.hears(t, `shop.test: ""`)
		if got, want := b.Count(), (verifier.States{Proved: 1}); got != want {
			t.Errorf("states %+v, want %+v", got, want)
		}
	})
}

// A host waits for a certificate that is new, as long as that can be shown soon.
func TestWhoWaits(t *testing.T) {
	for is, c := range map[string]struct {
		then func(b *bed, s *verifier.Session, q verifier.Question)
		told []string
	}{
		"until it is shown": {func(_ *bed, s *verifier.Session, q verifier.Question) {
			passes(time.Second)
			s.Proved(q.Nonce)
		}, []string{"served after 1s", "a.test waits no more"}},
		"until it cannot be shown": {func(_ *bed, s *verifier.Session, q verifier.Question) { s.Impossible(q.Nonce) },
			[]string{"a.test waits no more"}},
		"until its time is over": {func(*bed, *verifier.Session, verifier.Question) { passes(patience) },
			[]string{"a.test waits no more"}},
		"until the prover leaves": {func(_ *bed, s *verifier.Session, _ verifier.Question) { s.Leave() },
			[]string{"a.test waits no more"}},
		"until it is withdrawn": {func(b *bed, _ *verifier.Session, _ verifier.Question) { b.Publish("a.test", nil) },
			[]string{"a.test waits no more"}},
		"although it failed": {func(_ *bed, s *verifier.Session, q verifier.Question) { s.Failed(q.Nonce, "no") }, nil},
		"also when the controller ends": {func(_ *bed, s *verifier.Session, q verifier.Question) {
			s.Stop()
			s.Proved(q.Nonce)
		}, nil},
	} {
		t.Run(is, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				s := b.connect(t, nil, nil)
				b.Publish("a.test", certificate("x"))
				if !b.Wait("a.test", "a.test") || b.Wait("b.test", "b.test") {
					t.Error("the wrong hosts wait")
				}
				c.then(b, s, asks(t, s, "a.test"))
				b.hears(t, c.told...)
			})
		})
	}
}

func TestNobodyWaitsForWhatWasThereBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := b.connect(t, nil, verifier.Certificates{"a.test": certificate("x")})
		if b.Wait("a.test", "a.test") {
			t.Error("a host waits for a certificate that was there before the prover")
		}
		s.Proved(asks(t, s, "a.test").Nonce)
		b.hears(t)
	})
}

func TestWhatWasShownElsewhereIsNotAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		statement := proof.Statement{Leaves: []proof.Fingerprint{proof.FingerprintOf([]byte("same"))}}
		s := b.connect(t, map[string]string{"same.test": statement.Version(), "gone.test": "any"},
			verifier.Certificates{"same.test": certificate("same")})
		if q, _ := s.Next(); !slices.Equal(q.Removed, []string{"gone.test"}) {
			t.Errorf("told %+v, want that gone.test is to be forgotten", q)
		}
		isIdle(t, s)
		if got, want := b.Count(), (verifier.States{Proved: 1}); got != want {
			t.Errorf("states %+v, want %+v", got, want)
		}
	})
}

// What changes while its answer is under way is asked for once more, before all others.
func TestAnAnswerToAnOldQuestion(t *testing.T) {
	for is, answer := range map[string]func(*verifier.Session, string){
		"proved": (*verifier.Session).Proved,
		"failed": func(s *verifier.Session, nonce string) { s.Failed(nonce, "no") },
	} {
		t.Run(is, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				s := b.connect(t, nil, nil)
				b.Publish("a.test", certificate("one"))
				old := asks(t, s, "a.test")
				b.Publish("a.test", certificate("two"))
				b.Publish("b.test", certificate("b"))
				answer(s, old.Nonce)
				if again := asks(t, s, "a.test"); again.Version == old.Version {
					t.Error("the old certificate is asked for again")
				}
				asks(t, s, "b.test")
				answer(s, old.Nonce) // twice: it says nothing
				isIdle(t, s)
			})
		})
	}
}

func TestWhatIsImpossibleIsTriedAfterAChangeOfSettings(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		wanted := verifier.Certificates{"a.test": certificate("x"), "*": certificate("not PEM")}
		wanted["*"].Chain = []byte("not PEM")
		s := b.connect(t, nil, wanted)
		s.Impossible(asks(t, s, "a.test").Nonce)
		isIdle(t, s)
		if got, want := b.Count(), (verifier.States{Impossible: 2}); got != want {
			t.Errorf("states %+v, want %+v", got, want)
		}
		b.Configure(&route.ProxyProtocol{}, wanted)
		q := asks(t, s, "a.test")
		if statement, err := proof.Parse(q.Name, q.Body); err != nil || !statement.Proxy {
			t.Errorf("asked is %+v (%v), want a PROXY header", statement, err)
		}
		b.Configure(nil, nil)
		if q, _ := s.Next(); len(q.Removed) != 2 {
			t.Errorf("told %+v, want that both are to be forgotten", q)
		}
		s.Proved(q.Nonce)
		isIdle(t, s)
	})
}
