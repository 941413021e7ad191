package order

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

const (
	// maxListed is how many certificates an Issuer's status lists, maxListedNames
	// how many names of each.
	maxListed      = 100
	maxListedNames = 10
	maxMessage     = 1024
)

// State is what has become of a certificate that is asked for.
type State struct {
	Issuer  string
	Names   []string
	State   string // v1alpha1.CertificateIssued and the like
	Message string
	// Next is when it is tried again, or renewed; zero: when something happens.
	Next time.Time
	// NotAfter is when the certificate that is there expires; zero: there is none.
	NotAfter time.Time
}

// States are those of all certificates, of one term.
type States struct {
	// Changed hears whose certificates have changed; it must not block.
	Changed func(issuer string)

	mu      sync.Mutex
	states  map[Key]State
	awaited map[Key]bool // not looked at in this term
}

// expect says which keys there are at the beginning of a term.
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

// set says what has become of the certificate of key; nil: nobody asks for it.
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
		if len(s.awaited) == 0 { // from now on Of has something to say
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

// Of is the state of the certificates of an Issuer, as its status has it. It is
// not ok before each has been looked at: then nobody can say.
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

// urgency orders states: what a person should look at first.
func urgency(state string) int {
	return slices.Index([]string{
		v1alpha1.CertificateFailing, v1alpha1.CertificatePending, v1alpha1.CertificateRenewing, v1alpha1.CertificateIssued,
	}, state)
}

func (s State) listed(key Key) v1alpha1.CertificateState {
	listed := v1alpha1.CertificateState{
		Namespace: key.Namespace, SecretName: key.Name, Names: s.Names[:min(len(s.Names), maxListedNames)],
		State: s.State, Message: shorten(s.Message, maxMessage),
	}
	if !s.Next.IsZero() {
		listed.Next = &metav1.Time{Time: s.Next}
	}
	if !s.NotAfter.IsZero() {
		listed.NotAfter = &metav1.Time{Time: s.NotAfter}
	}
	return listed
}

// all is the states of all certificates.
func (s *States) all() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.states))
}
