package main

import (
	"errors"
	"strings"
	"testing"
)

func TestWrongAddressesAreUsageErrors(t *testing.T) {
	for _, test := range []struct {
		name, address, service, want string
	}{
		{"no address", "under_score", "", `publish-address: "under_score" is neither an IP address nor a host name`},
		{"no gateway", "In ner=192.0.2.1", "", `publish-address: "In ner" is not the name of a gateway`},
		{"an empty gateway", "=192.0.2.1", "", `publish-address: "" is not the name of a gateway`},
		{"no Service", "", "gateway", `publish-service: "gateway" is no namespace/name`},
		{"no Service of a gateway", "", "inner=gateway", `publish-service: "gateway" is no namespace/name`},
		{"both", "192.0.2.1", "a/b", `publish-service: cannot be used together with publish-address`},
		{"both of a gateway", "inner=192.0.2.1", "inner=a/b", `publish-service: cannot be used together with publish-address`},
		{"two Services", "", "a/b,a/c", `publish-service: "a/b" and "a/c": one Service is enough`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s publishSettings
			if test.address != "" {
				s.Addresses = []string{test.address}
			}
			if test.service != "" {
				s.Services = strings.Split(test.service, ",")
			}
			err := s.load(func(name, problem string) error { return errors.New(name + ": " + problem) })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}
