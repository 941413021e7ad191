package healthcheck_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/proxy/healthcheck"
)

func TestANodeTakesConnectionsWhileItIsHealthyAndStays(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	node := &healthcheck.Node{Now: func() time.Time { return now }}
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		node.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Header().Get("Server") != "fairway" {
			t.Errorf("%s: the server is %q", path, w.Header().Get("Server"))
		}
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	for _, step := range []struct {
		what           string
		do             func()
		healthz, livez int
	}{
		{"nothing is written yet", func() {}, 503, 503},
		{"all is written", func() { node.Committed(false) }, 200, 200},
		{"the node is about to go", func() { node.Committed(true) }, 503, 200},
		{"it stays after all", func() { node.Committed(false) }, 200, 200},
		{"a commit fails", node.Failed, 200, 200},
		{"commits fail for a minute", func() { now = now.Add(time.Minute); node.Failed() }, 200, 200},
		{"and for two", func() { now = now.Add(time.Minute); node.Failed() }, 503, 503},
		{"one succeeds", func() { node.Committed(false) }, 200, 200},
	} {
		step.do()
		if got, body := ask("/healthz"); got != step.healthz {
			t.Errorf("%s: /healthz is %d, %s, want %d", step.what, got, body, step.healthz)
		}
		if got, body := ask("/livez"); got != step.livez {
			t.Errorf("%s: /livez is %d, %s, want %d", step.what, got, body, step.livez)
		}
	}
	if got, _ := ask("/other"); got != 404 {
		t.Errorf("/other is %d", got)
	}
	if _, body := ask("/healthz"); body != `{"lastUpdated":"2026-11-30T12:02:00Z","currentTime":"2026-11-30T12:02:00Z","nodeEligible":true}` {
		t.Errorf("it says %s", body)
	}
}
