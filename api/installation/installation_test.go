package installation_test

import (
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairwaynet/fairway/api/installation"
)

func TestNamesThatAreRefused(t *testing.T) {
	for name, says := range map[installation.Name]string{
		"fairway": "", "blue": "", "a": "", "blue-2": "",
		installation.Name(strings.Repeat("a", 40)): "",
		installation.Name(strings.Repeat("a", 41)): "has 41 letters, and can have 40",
		"":      "is no name of an installation",
		"Blue":  "lower-case",
		"2blue": "",
		"a.b":   "is no name of an installation",
		"-a":    "is no name of an installation",
		"a-":    "end with a letter or digit",
		"a/b":   "is no name of an installation",
	} {
		err := name.Validate()
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", name, err, says)
		}
	}
}

// The names of the default installation are those of before there were several.
func TestNamesOfTheDefaultInstallationStay(t *testing.T) {
	for _, name := range []installation.Name{"", installation.Default} {
		if got := name.Controller(); got != "fairway-controller" {
			t.Errorf("%q: %s", name, got)
		}
		if got := name.Labels(map[string]string{"a": "b"}); !maps.Equal(got, map[string]string{"a": "b"}) {
			t.Errorf("%q: labels %v", name, got)
		}
	}
}

// Whatever an installation labels, its own selector finds it, and no other's does.
func TestAnInstallationFindsItsOwnObjectsOnly(t *testing.T) {
	names := []installation.Name{"", "fairway", "blue", "fairway-blue"}
	for _, owner := range names {
		object := labels.Set(owner.Labels(map[string]string{"fairway.dev/replica": "true"}))
		for _, other := range names {
			selector, err := labels.Parse("fairway.dev/replica=true," + other.Selector())
			if err != nil {
				t.Fatal(err)
			}
			want := owner.String() == other.String()
			if selector.Matches(object) != want || other.Owns(object) != want {
				t.Errorf("%q finds the objects of %q: by selector %t, by label %t", other, owner, selector.Matches(object), other.Owns(object))
			}
		}
	}
}
