package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestRequestComparesTheAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "fairway")
		if r.Host != "nobody.test" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"expected", []string{"--host=nobody.test", "--expect-status=404", "--expect-server=fairway", server.URL}, 0, "404 Not Found"},
		{"another status", []string{"--expect-status=404", server.URL}, 1, "expected was 404"},
		{"another server", []string{"--expect-server=nginx", server.URL}, 1, "something else answers there"},
		{"nobody listens", []string{"http://127.0.0.1:1/"}, 1, "ask http://127.0.0.1:1/"},
		{"no URL", []string{"nonsense"}, 2, "not a URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, err strings.Builder
			code := run(t.Context(), append([]string{"request"}, test.args...), streams{In: strings.NewReader(""), Out: &out, Err: &err})
			if code != test.code || !strings.Contains(out.String()+err.String(), test.says) {
				t.Errorf("exit code %d, printed %q and %q", code, out.String(), err.String())
			}
		})
	}
}

func TestRequestTriesAgain(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	var out, err strings.Builder
	if code := run(t.Context(), []string{"request", "--expect-status=200", "--retry=30s", server.URL}, streams{Out: &out, Err: &err}); code != 0 {
		t.Errorf("exit code %d: %s", code, err.String())
	}
}
