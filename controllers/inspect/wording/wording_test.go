package wording_test

import (
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

func TestWords(t *testing.T) {
	eleven := strings.Split("abcdefghijk", "")
	for _, test := range []struct{ got, want string }{
		{wording.Count(0, "host"), "no hosts"},
		{wording.Count(1, "host"), "1 host"},
		{wording.Count(2, "host"), "2 hosts"},
		{wording.First(nil), ""},
		{wording.First(eleven[:10]), "a b c d e f g h i j"},
		{wording.First(eleven), "a b c d e f g h i j …"},
		{wording.Printable("é\x1b[31m\n\t"), "é\uFFFD[31m\uFFFD\uFFFD"},
		{wording.Printable("a\tb\n", '\t'), "a\tb\uFFFD"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
