package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/fairwaynet/fairway/test/freeport"
)

func TestNoPortIsGivenTwiceOrTaken(t *testing.T) {
	given := map[uint16]bool{}
	for range 100 {
		p := freeport.Get(t)
		if given[p] {
			t.Fatalf("%d was given twice", p)
		}
		given[p] = true
		// Whoever comes next must go past it.
		taken, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p)+1)))
		if err != nil {
			continue // somebody else has taken it
		}
		t.Cleanup(func() {
			if err := taken.Close(); err != nil {
				t.Error(err)
			}
		})
		if next := freeport.Get(t); int(next) == int(p)+1 {
			t.Fatalf("%d was given, where somebody listens", next)
		}
	}
}
