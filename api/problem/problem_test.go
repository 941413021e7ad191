package problem_test

import (
	"testing"

	"github.com/fairwaynet/fairway/api/problem"
)

func TestShorten(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"", 4, ""},
		{"abcd", 4, "abcd"},
		{"abcde", 4, "a…"},
		{"äöüß", 8, "äöüß"},
		{"äöüßx", 8, "äö…"}, // half a letter is none
	} {
		if got := problem.Shorten(test.text, test.most); got != test.want || len(got) > test.most {
			t.Errorf("%q in %d bytes is %q, want %q", test.text, test.most, got, test.want)
		}
	}
}
