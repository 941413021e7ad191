package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTakeInTurn(t *testing.T) {
	for _, test := range []struct {
		name   string
		ranges Ranges
		want   []string // of one lease after the other, "" if it is exhausted
	}{
		{"to the last address", ranges("10.1.0.0/30"), []string{"10.1.0.1", "10.1.0.2", "10.1.0.3", ""}},
		{"two addresses give one", ranges("10.1.0.0/31"), []string{"10.1.0.1", ""}},
		{"one address gives none", ranges("10.1.0.0/32"), []string{""}},
		{"IPv6: two give one", ranges("fd00::/127"), []string{"fd00::1", ""}},
		{"IPv6: one gives none", ranges("fd00::/128"), []string{""}},
		{"both families", ranges("fd00::/64", "10.1.0.0/24"), []string{"10.1.0.1 fd00::1", "10.1.0.2 fd00::2"}},
		{"one family is full: nothing is taken", ranges("fd00::/127", "10.1.0.0/24"), []string{"10.1.0.1 fd00::1", ""}},
		{"the next range after a full one", ranges("10.1.0.0/31", "10.2.0.0/31"), []string{"10.1.0.1", "10.2.0.1", ""}},
		{"ranges that overlap", ranges("10.1.0.0/30", "10.1.0.2/31"), []string{"10.1.0.1", "10.1.0.3", ""}},
		{"mapped and not at its start", ranges("::ffff:10.1.0.2/127"), []string{"10.1.0.3", ""}},
		{"the end of all addresses", ranges("255.255.255.254/31"), []string{"255.255.255.255", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := Leases{Dir: filepath.Join(t.TempDir(), "new")}
			for n, want := range test.want {
				got, err := l.Take(wait(t), lease(n), Wanted{Ranges: test.ranges})
				if exhausted := (*ExhaustedError)(nil); want == "" && !errors.As(err, &exhausted) {
					t.Errorf("lease %d: %v, %v; want exhausted", n, got.Addresses, err)
				}
				if text := strings.Trim(fmt.Sprint(got.Addresses), "[]"); text != want {
					t.Errorf("lease %d: %s, want %s (%v)", n, text, want, err)
				}
			}
		})
	}
}

func TestAnAddressRestsAsLongAsTheRangeAllows(t *testing.T) {
	l := Leases{Dir: t.TempDir()}
	want := Wanted{Ranges: ranges("10.1.0.0/29")}
	for n, wanted := range []string{"1", "2", "3", "4", "5", "6", "7", "1", "2"} {
		got, err := l.Take(wait(t), lease(n), want)
		if err != nil || got.Addresses[0].String() != "10.1.0."+wanted {
			t.Errorf("lease %d: %v %v, want .%s", n, got.Addresses, err, wanted)
		}
		if err := l.Give(wait(t), lease(n).Key); err != nil {
			t.Error(err)
		}
	}
	for _, wrong := range []string{"x", "=10.9.9.9", "=", strings.Repeat("1", 1000)} {
		hint := filepath.Join(l.Dir, ".last.10.1.0.0_29")
		if err := errors.Join(os.Remove(hint), os.Symlink(wrong, hint)); err != nil {
			t.Fatal(err)
		}
		got, err := l.Take(wait(t), lease(1), want)
		if err != nil || got.Addresses[0].String() != "10.1.0.1" {
			t.Errorf("hint %.10q: %v %v", wrong, got.Addresses, err)
		}
		if err := l.Give(wait(t), lease(1).Key); err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsSayWhatWhereAndWho(t *testing.T) {
	dir := t.TempDir()
	l := Leases{Dir: dir}
	pool := ranges("10.1.0.0/30")
	requested := func(a string) Wanted { return Wanted{Ranges: pool, Requested: []netip.Addr{netip.MustParseAddr(a)}} }
	for n, w := range []Wanted{requested("::ffff:10.1.0.3"), {Ranges: pool}, {Ranges: pool}} {
		if _, err := l.Take(wait(t), lease(n), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		lease int
		want  Wanted
		text  string
	}{
		{0, Wanted{Ranges: pool}, "it has a lease already, which DEL gives back"},
		{7, Wanted{Ranges: pool}, "no address is free in 10.1.0.0/30 (3 of 3 are taken)"},
		{7, requested("10.1.0.3"), "address 10.1.0.3 is taken by pod shop/cart-0 (container c0, interface eth0)"},
		{7, requested("10.1.0.0"), "address 10.1.0.0 is the node's, the network address of 10.1.0.0/30"},
		{7, requested("10.2.0.1"), "address 10.2.0.1 is outside of 10.1.0.0/30"},
		{7, requested("fe80::1%eth0"), "address fe80::1%eth0 is outside of 10.1.0.0/30"},
		{7, Wanted{}, "check ranges: there are none"},
	} {
		_, err := l.Take(wait(t), lease(test.lease), test.want)
		text := fmt.Sprintf("take addresses for container c%d, interface eth0 in %s: %s", test.lease, dir, test.text)
		if err == nil || err.Error() != text {
			t.Errorf("got  %v\nwant %s", err, text)
		}
	}
	if left := files(t, dir); len(left) != 6 {
		t.Errorf("a refused lease left something: %v", left)
	}
}

func TestKeysAreNoPathsAndNeverTheSameName(t *testing.T) {
	for _, k := range []Key{{"", "eth0"}, {"..", "eth0"}, {".x", "e"}, {"a/b", "e"}, {"a", "../x"}, {"a", ".."}, {"a", ""},
		{"a", "a b"}, {"a", "x:y"}, {"a", "0123456789abcdef"}, {"a@b", "c"}, {"a", "\x00"}, {"a", "\xff"}, {strings.Repeat("a", 240), "e"}} {
		if err := k.Validate(); err == nil {
			t.Errorf("%q is accepted", k)
		}
	}
	for _, k := range []Key{{"10.1.2", "3"}, {"a.b", "c"}, {"a", "b.c"}, {"a", "b@c"}, {strings.Repeat("a", 239), "0123456789abcde"}} {
		back, ok := keyOf(k.String())
		if _, address := addressOf(k.String()); !ok || back != k || address || k.Validate() != nil {
			t.Errorf("%q comes back as %q (%t)", k, back, ok)
		}
	}
}

func TestGiveWaitsForAStoppedHolderOnlyUntilItsDeadline(t *testing.T) {
	l := Leases{Dir: t.TempDir()}
	if _, err := l.Take(wait(t), lease(1), Wanted{Ranges: ranges("10.1.0.0/30")}); err != nil {
		t.Fatal(err)
	}
	err := l.locked(wait(t), func(folder) error {
		if _, err := l.Take(wait(t), lease(2), Wanted{Ranges: ranges("10.1.0.0/30")}); err != nil {
			t.Errorf("take waits for the lock: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := l.Give(ctx, lease(1).Key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("give: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Give(wait(t), lease(1).Key); err != nil {
		t.Error(err)
	}
}
