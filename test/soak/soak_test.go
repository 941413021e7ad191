package soak

import (
	"testing"
	"time"
)

// recorder is a test that remembers whether it failed.
type recorder struct {
	testing.TB

	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestOnlyASoakIsLongAndStrict(t *testing.T) {
	for _, test := range []struct {
		value  string
		picked string
		failed bool
	}{
		{"", "short", false},
		{"1", "long", true},
	} {
		t.Setenv(variable, test.value)
		r := &recorder{TB: t}
		Promised(r, "a change", time.Minute, time.Second)
		if got := Pick("short", "long"); got != test.picked || r.failed != test.failed {
			t.Errorf("with %s=%q: picked %s, a broken promise fails: %t", variable, test.value, got, r.failed)
		}
		r.failed = false
		if Promised(r, "a change", time.Second, time.Second); r.failed {
			t.Error("what is promised fails")
		}
	}
}
