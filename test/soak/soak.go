// Package soak decides how long a test takes. Continuous integration runs each test
// in the shortest form that still proves the behaviour. "make soak" runs the full
// form: an outage lasts minutes, a flood goes on, and the times that pages promise
// are assertions, which need a machine that does nothing else. Neither form skips a
// test.
package soak

import (
	"os"
	"testing"
	"time"
)

// variable is the environment variable that "make soak" and "make fuzz" set. Only
// this package reads it.
const variable = "FAIRWAY_SOAK"

// On says whether this is a soak.
func On() bool { return os.Getenv(variable) != "" }

// Pick is long in a soak, and short else.
func Pick[T any](short, long T) T {
	if On() {
		return long
	}
	return short
}

// Promised logs how long an event took, and how long it takes at most as a page
// promises. In a soak a longer time fails the test. The caller has waited for the
// event with a generous deadline of its own.
func Promised(t testing.TB, what string, took, most time.Duration) {
	t.Helper()
	t.Logf("%s: %s, at most %s is promised", what, took.Round(time.Millisecond), most)
	if On() && took > most {
		t.Errorf("%s took %s, more than the %s that are promised", what, took, most)
	}
}

// Bulk leaves out a test whose point is a large number, where tests are short: under the
// race detector, which slows each down tenfold and finds nothing in it that smaller tests do not
// show.
func Bulk(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("bulk, which runs without the race detector")
	}
}
