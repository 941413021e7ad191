package acme

import "time"

// Budget bounds how many orders are placed at an authority: Most in each Per,
// all at once or one by one. Its owner keeps one for each issuer, stores it or
// not (it holds nothing secret), and takes from it before each attempt.
//
// The zero value allows nothing. DefaultBudget suits Let's Encrypt.
type Budget struct {
	Most int           `json:"most"`
	Per  time.Duration `json:"per"`
	// Full is when all of it will be there again: the only state.
	Full time.Time `json:"full,omitzero"`
}

// DefaultBudget stays below what Let's Encrypt allows an account, 300 new orders
// in 3 hours, so that a person still has some.
func DefaultBudget() Budget { return Budget{Most: 250, Per: 3 * time.Hour} }

// Take takes one order. If none is left, after is the budget as it was, and when
// is the time that the next will be there.
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
