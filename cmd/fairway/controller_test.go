package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestScopeSettings(t *testing.T) {
	where := func(name, problem string) error { return fmt.Errorf("--%s: %s", name, problem) }
	for _, test := range []struct {
		name string
		args []string
		want string // part of the error; empty: no error
	}{
		{"nothing", nil, ""},
		{"namespaces", []string{"--watch-namespaces=a,b", "--ingress-classes=inner"}, ""},
		{"a selector", []string{"--watch-namespace-selector=team in (shop, pay),stage!=test"}, ""},
		{"no namespace", []string{"--watch-namespaces=a,B"}, `--watch-namespaces: "B" is no name of a namespace`},
		{"no class", []string{"--ingress-classes=-"}, `--ingress-classes: "-" is no name of an IngressClass`},
		{"no selector", []string{"--watch-namespace-selector=a=b=c"}, `--watch-namespace-selector: `},
		{"both", []string{"--watch-namespaces=a", "--watch-namespace-selector=a=b"}, "cannot be used together"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &scopeSettings{}
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			s.bind(flags)
			err := errors.Join(flags.Parse(test.args), s.load(where))
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if len(s.namespaces()) != len(s.Namespaces) || !slices.Equal(s.scope().Classes, s.Classes) {
				t.Errorf("namespaces %v, scope %+v", s.namespaces(), s.scope())
			}
		})
	}
}

func TestDeclaredSettings(t *testing.T) {
	where := func(name, problem string) error { return fmt.Errorf("--%s: %s", name, problem) }
	for given, want := range map[string]string{"": "", "fairway-declared": "", "a/b": `--declared: "a/b" is no name of a ConfigMap`} {
		s := &declaredSettings{ConfigMap: given}
		if err := s.load(where); (err != nil) != (want != "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %q", given, err, want)
		}
	}
	nothing, err := (&declaredSettings{}).controller(nil, "")
	if err != nil || nothing.Subscribers(nil) != nil || nothing.Problems() != nil || nothing.Join(t.Context(), nil, nil, nil) != nil {
		t.Errorf("without the flag: %v, or something is watched", err)
	}
}
