package loadbalancer

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for _, c := range []struct{ text, want, wrong string }{
		{text: "192.0.2.10", want: "192.0.2.10"},
		{text: "192.0.2.10-192.0.2.12", want: "192.0.2.10-192.0.2.12"},
		{text: " 192.0.2.10 - 192.0.2.12 ", want: "192.0.2.10-192.0.2.12"},
		{text: "192.0.2.64/30", want: "192.0.2.64-192.0.2.67"},
		{text: "192.0.2.64/32", want: "192.0.2.64"},
		{text: "2001:db8::/126", want: "2001:db8::-2001:db8::3"},
		{text: "2001:db8::1-2001:db8::ffff:ffff", want: "2001:db8::1-2001:db8::ffff:ffff"},
		{text: "2000::/3", want: "2000::-3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{text: "", wrong: "is no address"},
		{text: "192.0.2.10-", wrong: "is no address"},
		{text: "192.0.2.010", wrong: "is no address"},
		{text: "192.0.2.12-192.0.2.10", wrong: "ends before it begins"},
		{text: "192.0.2.1-2001:db8::1", wrong: "different families"},
		{text: "192.0.2.65/30", wrong: "write the network as 192.0.2.64/30"},
		{text: "192.0.2.0/33", wrong: "is no network"},
		{text: "::ffff:192.0.2.1", wrong: "write 192.0.2.1"},
		{text: "::ffff:192.0.2.0/120", wrong: "write it as IPv4"},
		{text: "fe80::1%eth0", wrong: "has a zone"},
		{text: "fe80::1", wrong: "link-local"},
		{text: "0.0.0.0/0", wrong: "without a meaning"},
		{text: "126.255.255.255-128.0.0.1", wrong: "loopback"},
		{text: "::/0", wrong: "loopback"},
		{text: "224.0.0.5", wrong: "multicast"},
		{text: "ff02::1", wrong: "multicast"},
		{text: "shop.test", wrong: "is no address"},
	} {
		r, err := ParseRange(c.text)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q: error %v, want one with %q", c.text, err, c.wrong)
			}
			continue
		}
		if err != nil || r.String() != c.want {
			t.Errorf("%q: %v, %v, want %s", c.text, r, err, c.want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"192.0.2.1", "192.0.2.1-192.0.2.9", "2001:db8::/64", "::ffff:1.2.3.4/120", "-", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			return
		}
		if r.Last.Less(r.First) || r.First.Is4() != r.Last.Is4() || r.First.Is4In6() || r.First.Zone() != "" {
			t.Fatalf("%q: %v", text, r)
		}
		if again, err := ParseRange(r.String()); err != nil || again != r {
			t.Fatalf("%q: %v is read as %v, %v", text, r, again, err)
		}
	})
}

// What is left of ranges is each of their addresses that no other has, and no more: compared
// one by one, also at the ends of the families.
func TestWithoutAndCount(t *testing.T) {
	parse := func(texts ...string) (all []Range) {
		for _, text := range texts {
			first, last, ok := strings.Cut(text, "-")
			if !ok {
				last = first
			}
			all = append(all, Range{netip.MustParseAddr(first), netip.MustParseAddr(last)})
		}
		return all
	}
	for _, c := range []struct{ all, others []Range }{
		{parse("10.0.0.0-10.0.0.9"), parse("10.0.0.3", "10.0.0.5-10.0.0.6")},
		{parse("10.0.0.0-10.0.0.9"), parse("10.0.0.0-10.0.0.4", "10.0.0.9-10.0.0.20")},
		{parse("10.0.0.0-10.0.0.9"), parse("9.0.0.0-11.0.0.0")},
		{parse("10.0.0.0-10.0.0.9", "10.0.0.8-10.0.0.12", "10.0.0.13"), parse("10.0.0.12")},
		{parse("255.255.255.250-255.255.255.255"), parse("255.255.255.255")},
		{parse("0.0.0.0-0.0.0.3", "2001:db8::-2001:db8::5"), parse("0.0.0.0", "2001:db8::5")},
		{parse("10.0.0.0-10.0.0.9"), nil},
		{nil, parse("10.0.0.0")},
	} {
		in := func(all []Range, a netip.Addr) bool {
			for _, r := range all {
				if r.Contains(a) {
					return true
				}
			}
			return false
		}
		rest := without(merge(c.all), merge(c.others))
		want := uint64(0)
		for _, r := range merge(c.all) {
			for a := r.First; ; a = a.Next() {
				wanted := !in(c.others, a)
				if wanted {
					want++
				}
				if in(rest, a) != wanted {
					t.Errorf("%v without %v: %s is in %v: %v", c.all, c.others, a, rest, !wanted)
				}
				if a == r.Last {
					break
				}
			}
		}
		if got := count(rest, 1000); got != want {
			t.Errorf("%v without %v: %d addresses, want %d", c.all, c.others, got, want)
		}
	}
	if got := count(parse("2001:db8::-2001:db8::ffff:ffff:ffff:ffff"), 1000); got != 1000 {
		t.Errorf("of a large network %d", got)
	}
}
