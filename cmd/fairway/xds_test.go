package main

import (
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

func TestWhereEnvoysMayBeServed(t *testing.T) {
	tests := []struct {
		name    string
		address string
		files   [3]string
		managed bool
		want    string // part of the error; empty: no error
	}{
		{name: "loopback needs no TLS", address: "127.0.0.1:18000"},
		{name: "nor does its IPv6 address", address: "[::1]:18000"},
		{name: "nor its name", address: "localhost:18000"},
		{name: "nor a unix socket", address: "unix:/run/fairway.sock"},
		{name: "the network needs TLS", address: "10.0.0.1:18000", want: "can be reached from other machines"},
		{name: "all addresses are the network", address: ":18000", want: "can be reached from other machines"},
		{name: "unspecified is the network", address: "[::]:18000", want: "can be reached from other machines"},
		{name: "a name may be anywhere", address: "localhost.evil.test:18000", want: "can be reached from other machines"},
		{name: "the network with TLS", address: ":18000", files: [3]string{"c", "k", "a"}},
		{name: "loopback with TLS", address: "127.0.0.1:0", files: [3]string{"c", "k", "a"}},
		{name: "TLS without clients' authorities is no TLS", address: ":18000", files: [3]string{"c", "k", ""}, want: "all three or none"},
		{name: "half a TLS on loopback is a mistake", address: "127.0.0.1:0", files: [3]string{"c", "", ""}, want: "all three or none"},
		{name: "the network with managed certificates", address: ":18000", managed: true},
		{name: "certificates cannot be both", address: ":18000", managed: true, files: [3]string{"c", "k", "a"}, want: "give no --xds-cert"},
		{name: "no port", address: "127.0.0.1", want: "neither host:port nor unix:path"},
		{name: "no socket", address: "unix:", want: "needs the path of a socket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			x := newXDSSettings()
			x.Address, x.Cert, x.Key, x.ClientCA = test.address, test.files[0], test.files[1], test.files[2]
			if test.managed {
				x.Identity = identityManaged
			}
			err := x.validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestUnreadableKeysAreSaidAtTheStart(t *testing.T) {
	x := xdsSettings{Cert: "absent.pem", Key: "absent.pem", ClientCA: "absent.pem"}
	if _, err := x.credentials(logr.Discard()); err == nil || !strings.Contains(err.Error(), "--xds-cert") {
		t.Errorf("error %v, want one that names the flag", err)
	}
}
