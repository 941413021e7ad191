package link_test

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/cni/link"
)

const tracking = "/proc/sys/net/netfilter/nf_conntrack_"

// tracked reads a setting of connection tracking.
func tracked(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(tracking + name)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the kernel tracks no connections")
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

// What is lower is raised, once, and what is higher stays.
func TestTrackingIsRaised(t *testing.T) {
	const name, setting = "tcp_timeout_close_wait", "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
	for _, test := range []struct{ was, want string }{{"60", "3600"}, {"3600", "3600"}, {"7200", "7200"}} {
		tracked(t, name)
		if err := os.WriteFile(tracking+name, []byte(test.was), 0); err != nil {
			t.Fatal(err)
		}
		raised, _ := link.RaiseTracking(1) // what this namespace does not let us is the next test's
		if got := tracked(t, name); got != test.want {
			t.Errorf("%s s became %s, want %s", test.was, got, test.want)
		}
		said := slices.ContainsFunc(raised, func(what string) bool { return strings.HasPrefix(what, setting+" was "+test.was) })
		if want := test.was != test.want; said != want {
			t.Errorf("of %s s it says %q", test.was, raised)
		}
	}
}

// The size of the table belongs to the initial network namespace. Elsewhere an error names it,
// and it stays.
func TestTheTableOfAnotherNamespaceStays(t *testing.T) {
	const name = "max"
	was := tracked(t, name)
	raised, err := link.RaiseTracking(1 << 12)
	if got := tracked(t, name); got != was {
		t.Errorf("it was %s and is %s; raised: %q", was, got, raised)
	}
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "raise net.netfilter.nf_conntrack_max to 134217728") {
		t.Errorf("the error says %v", err)
	}
}
