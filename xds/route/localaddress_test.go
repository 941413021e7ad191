package route_test

import (
	"net/netip"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

// What is local, and what is next to it and is not.
func TestLocalPrefixes(t *testing.T) {
	for text, want := range map[string]bool{
		"0.0.0.0": true, "0.255.255.255": true, "1.0.0.0": false,
		"126.255.255.255": false, "127.0.0.0": true, "127.255.255.255": true, "128.0.0.0": false,
		"169.253.255.255": false, "169.254.0.0": true, "169.254.169.254": true, "169.255.0.0": false,
		"223.255.255.255": false, "224.0.0.1": true, "239.255.255.255": true, "240.0.0.1": false,
		"255.255.255.254": false, "255.255.255.255": true,
		"100.100.100.200": true, "100.100.100.201": false, "168.63.129.16": true, "168.63.129.17": false,
		"10.0.0.1": false, "192.168.0.1": false, "172.16.0.1": false,
		"::": true, "::1": true, "::1:0:0": false,
		"::7f00:1": true, "::ffff:127.0.0.1": true, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": true,
		"64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true, "64:ff9b::a00:1": false,
		"2002:7f00:1::1": true, "2002:a9fe:a9fe::": true, "2002:a00:1::1": false,
		"fe7f::1": false, "fe80::1": true, "febf::1": true, "fec0::1": false,
		"feff::1": false, "ff00::1": true, "ff02::1": true,
		"fd00:ec2::254": true, "fd00:ec2:ffff::1": true, "fd00:ec3::1": false, "fd20:ce::254": true, "fd00:42::42": true, "fd00:42::43": false,
	} {
		addr := netip.MustParseAddr(text)
		got := false
		for _, prefix := range route.LocalPrefixes() {
			got = got || prefix.Contains(addr)
		}
		if got != want {
			t.Errorf("%s: local %t, want %t", text, got, want)
		}
	}
}

// Envoy compares addresses with prefixes, so that bits beyond one must not be set.
func TestLocalPrefixesAreMasked(t *testing.T) {
	for _, prefix := range route.LocalPrefixes() {
		if prefix != prefix.Masked() {
			t.Errorf("%s is %s", prefix, prefix.Masked())
		}
	}
}
