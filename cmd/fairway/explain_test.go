package main

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) { testCases(t, "explain") }

// explain accepts or refuses hostile URLs, and its output never controls the
// terminal.
func TestExplainHostileURLs(t *testing.T) {
	for _, url := range []string{
		"http://shop.test/" + strings.Repeat("a/", 40_000),
		"http://" + strings.Repeat("a.", 20_000) + "test/",
		"http://shop.test/\x1b[31m\x00%00",
		"http://shop\x1b[31m.test/",
		"http://b\u00fccher.test/",
		"http:///x",
		"ftp://shop.test/",
		"://",
		"",
		"http://[::1",
		"http://shop.test:99999999999999999999/",
		"http://shop.test/%%%%%2e%2e%2f;..;//",
	} {
		got := ran(t, "", "explain", "-f", "../../examples", url)
		if strings.ContainsAny(got.Out+got.Err, "\x1b\x00") {
			t.Errorf("%.60q reaches the terminal: %.300q %.300q", url, got.Out, got.Err)
		}
		if got.Out == "" && got.Err == "" {
			t.Errorf("%.60q: not a word", url)
		}
	}
}
