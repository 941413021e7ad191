package order

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

const (
	// maxListed is how many certificates an Issuer's status lists, maxListedNames
	// how many names of each.
	maxListed      = 100
	maxListedNames = 10
	maxMessage     = 1024
)

// State is the state of a certificate that is asked for.
type State struct {
	Issuer  string
	Names   []string
	State   string // v1alpha1.CertificateIssued and the like
	Message string
	// Next is when it is tried again or renewed; zero: at the next event.
	Next time.Time
	// NotAfter is when the certificate in the Secret expires; zero: there is none.
	NotAfter time.Time
}

// States are the states of all certificates, for one term.
type States struct {
	// Changed is called with an Issuer whose certificates have changed; it must
	// not block.
	Changed func(issuer string)

	mu      sync.Mutex
	states  map[Key]State
	awaited map[Key]bool // not looked at in this term
}

// expect sets the keys that exist at the beginning of a term.
func (s *States) expect(keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states != nil {
		return // it has begun
	}
	s.states, s.awaited = map[Key]State{}, map[Key]bool{}
	for _, key := range keys {
		s.awaited[key] = true
	}
}

// forget ends the term.
func (s *States) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states, s.awaited = nil, nil
}

// set notes the state of the certificate of key; nil: no Ingress asks for it.
func (s *States) set(key Key, now *State) {
	s.mu.Lock()
	if s.states == nil {
		s.mu.Unlock()
		return // the term is over
	}
	before, known := s.states[key]
	changed := map[string]bool{}
	if known {
		changed[before.Issuer] = now == nil || !before.equal(*now)
	}
	if now != nil {
		s.states[key] = *now
		changed[now.Issuer] = !known || !before.equal(*now)
	} else {
		delete(s.states, key)
	}
	if s.awaited[key] {
		delete(s.awaited, key)
		if len(s.awaited) == 0 { // from now on Of returns something
			for _, state := range s.states {
				changed[state.Issuer] = true
			}
		}
	}
	s.mu.Unlock()
	for issuer, is := range changed {
		if is {
			s.Changed(issuer)
		}
	}
}

func (s State) equal(other State) bool {
	return s.Issuer == other.Issuer && slices.Equal(s.Names, other.Names) && s.State == other.State && s.Message == other.Message &&
		s.Next.Equal(other.Next) && s.NotAfter.Equal(other.NotAfter)
}

// Of returns the state of an Issuer's certificates as its status shows it. ok is
// false until each has been looked at in this term.
func (s *States) Of(issuer string) (counts v1alpha1.CertificateCounts, listed []v1alpha1.CertificateState, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil || len(s.awaited) > 0 {
		return counts, nil, false
	}
	type entry struct {
		key Key
		State
	}
	var all []entry
	for key, state := range s.states {
		if state.Issuer != issuer {
			continue
		}
		all = append(all, entry{key, state})
		switch state.State {
		case v1alpha1.CertificateFailing:
			counts.Failing++
		case v1alpha1.CertificatePending:
			counts.Pending++
		default:
			counts.Issued++
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(urgency(a.State.State), urgency(b.State.State)), a.Next.Compare(b.Next),
			cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
	})
	for _, e := range all[:min(len(all), maxListed)] {
		listed = append(listed, e.listed(e.key))
	}
	return counts, listed, true
}

// urgency orders states: first those that a person should look at first.
func urgency(state string) int {
	return slices.Index([]string{
		v1alpha1.CertificateFailing, v1alpha1.CertificatePending, v1alpha1.CertificateRenewing, v1alpha1.CertificateIssued,
	}, state)
}

func (s State) listed(key Key) v1alpha1.CertificateState {
	listed := v1alpha1.CertificateState{
		Namespace: key.Namespace, SecretName: key.Name, Names: s.Names[:min(len(s.Names), maxListedNames)],
		State: s.State, Message: problem.Shorten(s.Message, maxMessage),
	}
	if !s.Next.IsZero() {
		listed.Next = &metav1.Time{Time: s.Next}
	}
	if !s.NotAfter.IsZero() {
		listed.NotAfter = &metav1.Time{Time: s.NotAfter}
	}
	return listed
}

// all returns the states of all certificates.
func (s *States) all() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.states))
}
