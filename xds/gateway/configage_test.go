package gateway

import (
	"testing"
	"testing/synctest"
	"time"
)

// The age of the configuration is the time since a controller that this process asked was
// in contact with the API server.
func TestAgeOfThePicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p configAge
		want := func(want time.Duration, when string) {
			t.Helper()
			<-time.After(10 * time.Second)
			if got := p.now(); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		want(0, "before anybody said anything")
		p.report(0)
		want(0, "while a controller keeps it up to date")
		p.disconnected()
		want(10*time.Second, "when that has gone")
		p.report(time.Minute)
		want(70*time.Second, "with one that is cut off")
		p.disconnected()
		want(80*time.Second, "when that has gone too")
		p.report(0)
		want(0, "when the controller is in contact again")
	})
}
