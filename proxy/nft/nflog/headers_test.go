package nflog

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func six(next uint8, rest ...byte) []byte {
	b := make([]byte, 40, 40+len(rest))
	b[0], b[6], b[8], b[23], b[24], b[39] = 0x60, next, 0xfd, 1, 0xfd, 2
	return append(b, rest...)
}

func four(protocol, words uint8, fragment uint8, rest ...byte) []byte {
	b := make([]byte, 4*int(words), 4*int(words)+len(rest))
	b[0], b[7], b[9] = 0x40|words, fragment, protocol
	copy(b[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	return append(b, rest...)
}

func TestHeaders(t *testing.T) {
	a4, b4 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	a6, b6 := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	ports := []byte{1, 2, 0, 80}
	hop := append([]byte{unix.IPPROTO_TCP, 0, 0, 0, 0, 0, 0, 0}, ports...)
	first := append([]byte{unix.IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 0}, ports...)
	later := append([]byte{unix.IPPROTO_UDP, 0, 0, 8, 0, 0, 0, 0}, ports...)
	for name, test := range map[string]struct {
		packet []byte
		want   Headers
		bad    bool
	}{
		"TCP over IPv4":                 {four(unix.IPPROTO_TCP, 5, 0, ports...), Headers{a4, b4, unix.IPPROTO_TCP, 258, 80}, false},
		"with options":                  {four(unix.IPPROTO_UDP, 7, 0, ports...), Headers{a4, b4, unix.IPPROTO_UDP, 258, 80}, false},
		"a later fragment":              {four(unix.IPPROTO_UDP, 5, 1, ports...), Headers{a4, b4, unix.IPPROTO_UDP, 0, 0}, false},
		"a protocol without ports":      {four(unix.IPPROTO_ICMP, 5, 0, ports...), Headers{a4, b4, unix.IPPROTO_ICMP, 0, 0}, false},
		"cut off ahead of the ports":    {four(unix.IPPROTO_TCP, 5, 0, 1, 2, 3), Headers{a4, b4, unix.IPPROTO_TCP, 0, 0}, false},
		"a length that is too short":    {four(unix.IPPROTO_TCP, 5, 0)[:19], Headers{}, true},
		"SCTP over IPv6":                {six(unix.IPPROTO_SCTP, ports...), Headers{a6, b6, unix.IPPROTO_SCTP, 258, 80}, false},
		"behind an extension":           {six(unix.IPPROTO_HOPOPTS, hop...), Headers{a6, b6, unix.IPPROTO_TCP, 258, 80}, false},
		"a first fragment over IPv6":    {six(unix.IPPROTO_FRAGMENT, first...), Headers{a6, b6, unix.IPPROTO_UDP, 258, 80}, false},
		"a later fragment over IPv6":    {six(unix.IPPROTO_FRAGMENT, later...), Headers{a6, b6, unix.IPPROTO_UDP, 0, 0}, false},
		"an extension that is cut off":  {six(unix.IPPROTO_HOPOPTS, 6, 200, 0, 0, 0, 0, 0, 0), Headers{a6, b6, unix.IPPROTO_TCP, 0, 0}, false},
		"half an extension":             {six(unix.IPPROTO_ROUTING, 6, 0), Headers{a6, b6, unix.IPPROTO_ROUTING, 0, 0}, false},
		"half of IPv6":                  {six(unix.IPPROTO_TCP)[:39], Headers{}, true},
		"nothing":                       {nil, Headers{}, true},
		"what is neither IPv4 nor IPv6": {[]byte{0x50, 0, 0, 0}, Headers{}, true},
	} {
		if got, ok := parse(test.packet); got != test.want || ok == test.bad {
			t.Errorf("%s: %+v, %t, want %+v", name, got, ok, test.want)
		}
	}
}

// FuzzHeaders reads any bytes without a panic.
func FuzzHeaders(f *testing.F) {
	f.Add(six(unix.IPPROTO_FRAGMENT, 6, 0, 0, 1, 0, 0, 0, 0))
	f.Add(four(6, 15, 0))
	f.Fuzz(func(_ *testing.T, b []byte) { parse(b) })
}
