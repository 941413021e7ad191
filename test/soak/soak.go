// Package soak says how long tests take. Continuous integration proves each
// behaviour once, in the least time that still proves it. A soak ("make soak")
// proves it for as long as it happens to users: an outage of minutes, a flood that
// does not stop; and it holds what pages promise against the clock, which no
// machine that does other things besides can keep.
//
// Nothing is left out of either.
package soak

import (
	"os"
	"testing"
	"time"
)

// variable is set in the environment by "make soak" and "make fuzz", and read here
// alone.
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

// Promised tells how long something took, of which a page promises that it takes
// at most so long. In a soak it must be true. Whoever calls it has waited for it
// with a deadline of its own, which is generous.
func Promised(t testing.TB, what string, took, most time.Duration) {
	t.Helper()
	t.Logf("%s: %s, at most %s is promised", what, took.Round(time.Millisecond), most)
	if On() && took > most {
		t.Errorf("%s took %s, more than the %s that are promised", what, took, most)
	}
}
