package zones

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/dns/corefile"
)

func settings() corefile.Settings {
	return corefile.Settings{Domain: "cluster.local", Port: 53, Health: ":8080", Ready: ":8181", Metrics: ":9153", Lameduck: time.Second}
}

// crashing is a check that fails for texts with the word "bad", and counts.
func crashing(count *int) func(string) error {
	return func(text string) error {
		*count++
		if strings.Contains(text, "bad") {
			return errors.New("it is bad")
		}
		return nil
	}
}

func TestGoodFilesAreTriedOnce(t *testing.T) {
	count := 0
	got, problems := Choose(settings(), []corefile.File{{Name: "a.override", Text: "log"}}, []corefile.File{{Name: "b.server", Text: "b.test {\n}"}}, crashing(&count))
	if len(got.Overrides) != 1 || len(got.Servers) != 1 || len(problems) != 0 || count != 1 {
		t.Errorf("%+v, %v after %d checks", got, problems, count)
	}
}

func TestAMistakeCostsItsFile(t *testing.T) {
	count := 0
	got, problems := Choose(settings(),
		[]corefile.File{{Name: "a.override", Text: "bad"}, {Name: "b.override", Text: "log"}, {Name: "c.override", Text: "}\nc.test {"}, {Name: "d.override", Text: "hosts {"}},
		[]corefile.File{{Name: "e.server", Text: "bad.test {\n}"}, {Name: "f.server", Text: "f.test {\n}"}, {Name: "g.server", Text: "g.test {"}}, crashing(&count))
	var left []string
	for _, problem := range problems {
		left = append(left, problem.File)
	}
	slices.Sort(left)
	if want := []string{"a.override", "c.override", "d.override", "e.server", "g.server"}; !slices.Equal(left, want) {
		t.Errorf("left out are %v, want %v", problems, want)
	}
	if len(got.Overrides) != 1 || len(got.Servers) != 1 || got.Overrides[0].Name != "b.override" || got.Servers[0].Name != "f.server" {
		t.Errorf("chosen are %+v", got)
	}
}

func TestNoFilesNeedNoCheck(t *testing.T) {
	if _, problems := Choose(settings(), nil, nil, func(string) error { t.Error("checked"); return nil }); problems != nil {
		t.Error(problems)
	}
	overrides, servers, err := Read("/nonexistent")
	if overrides != nil || servers != nil || err != nil {
		t.Error(overrides, servers, err)
	}
}

func TestAZoneOfTwoBlocks(t *testing.T) {
	for text, want := range map[string]string{
		"a.test {\n}\nb.test {\n}":                 "",
		"a.test {\n}\nA.test. {\n}":                "dns://a.test.:53",
		"a.test:53 b.test {\n}\nb.test {\n}":       "dns://b.test.:53",
		"a.test:5353 {\n}\na.test {\n}":            "",
		"10.0.0.0/8 {\n}\n10.in-addr.arpa {\n}":    "dns://10.in-addr.arpa.:53",
		". {\n}\n.:53 {\n}":                        "dns://.:53",
		"a.test {\n  view one\n}\na.test {\n}":     "",
		"a.test {\n}\ntls://a.test {\n}":           "",
		"a.test {\n  bind 127.0.0.1\n}\nb.test {}": "",
	} {
		err := unique(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
