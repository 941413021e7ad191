package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/api/installation"
)

// where names the flag, as the settings of a command do.
func where(name, problem string) error { return fmt.Errorf("--%s: %s", name, problem) }

func TestScopeSettings(t *testing.T) {
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
		{"a value", []string{"--controller-value=k8s.io/ingress-nginx"}, ""},
		{"no value", []string{"--controller-value=nginx"}, `--controller-value: "nginx" is no DOMAIN/PATH, such as fairway.dev/ingress-controller`},
		{"an empty value", []string{"--controller-value="}, `--controller-value: "" is no DOMAIN/PATH`},
		{"a long value", []string{"--controller-value=a.test/" + strings.Repeat("a", 244)}, "--controller-value: has 251 letters, and can have 250"},
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
	for given, want := range map[string]string{"": "", "fairway-declared": "", "a/b": `--declared: "a/b" is no name of a ConfigMap`} {
		s := &declaredSettings{ConfigMap: given}
		if err := s.load(where); (err != nil) != (want != "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %q", given, err, want)
		}
	}
	nothing, err := (&declaredSettings{}).controller(nil, "", true)
	if err != nil || nothing.Subscribers(nil) != nil || nothing.Problems() != nil || nothing.Join(t.Context(), nil, nil, nil) != nil {
		t.Errorf("without the flag: %v, or something is watched", err)
	}
}

func TestReplicaSettings(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string // part of the error; empty: no error
	}{
		{"nothing", nil, ""},
		{"a name", []string{"--installation=blue", "--namespace=edge"}, ""},
		{"no name", []string{"--installation=Blue"}, `--installation: "Blue" is no name of an installation`},
		{"an empty name", []string{"--installation="}, `--installation: "" is no name of an installation`},
		{"a long name", []string{"--installation=" + strings.Repeat("a", 41)}, "has 41 letters, and can have 40"},
		{"no namespace", []string{"--namespace=a/b"}, `--namespace: "a/b" is no name of a namespace`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReplicaSettings()
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			r.bind(flags)
			err := errors.Join(flags.Parse(test.args), r.load(where))
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// Installations of one name in two namespaces write by different names. The usual one
// writes by those that it always had.
func TestFieldManagersOfInstallations(t *testing.T) {
	for _, test := range []struct {
		args []string
		want installation.Managers
	}{
		{nil, installation.Managers{Addresses: "fairway", Conditions: "fairway-controller"}},
		{[]string{"--namespace=edge"}, installation.Managers{Addresses: "fairway", Conditions: "fairway-controller"}},
		{[]string{"--namespace=edge", "--controller-value=a.test/b"}, installation.Managers{Addresses: "fairway-controller.edge", Conditions: "fairway-controller.edge"}},
		{[]string{"--namespace=edge", "--installation=blue"}, installation.Managers{Addresses: "blue-controller.edge", Conditions: "blue-controller.edge"}},
	} {
		c := &controllerSettings{Replica: newReplicaSettings()}
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.Replica.bind(flags)
		c.Scope.bind(flags)
		if err := flags.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		if got := c.managers(); got != test.want {
			t.Errorf("%q: %+v, want %+v", test.args, got, test.want)
		}
	}
}
