package acme

import "time"

// Budget bounds how many orders are placed at an authority: Most in each Per, all
// at once or one by one. Its owner keeps one for each issuer and takes from it
// before each attempt. It holds nothing secret; the owner may store it.
//
// The zero value allows nothing. DefaultBudget suits Let's Encrypt.
type Budget struct {
	Most int           `json:"most"`
	Per  time.Duration `json:"per"`
	// Full is when all of it will be there again: the only state.
	Full time.Time `json:"full,omitzero"`
}

// DefaultBudget stays below the limit of Let's Encrypt, 300 new orders of an
// account in 3 hours, so that some are left for a person.
func DefaultBudget() Budget { return Budget{Most: 250, Per: 3 * time.Hour} }

// Take takes one order. If none is left, after is the budget as it was, and when
// is the time at which the next order can be taken.
func (b Budget) Take(now time.Time) (after Budget, when time.Time, ok bool) {
	if b.Most <= 0 {
		return b, now.Add(b.Per), false
	}
	one := b.Per / time.Duration(b.Most)
	full := b.Full
	if full.Before(now) {
		full = now
	}
	if when = full.Add(one).Add(-b.Per); when.After(now) {
		return b, when, false
	}
	b.Full = full.Add(one)
	return b, now, true
}
