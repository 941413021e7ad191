package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOnlyTheUserIsAdmitted(t *testing.T) {
	var said bytes.Buffer
	handler := private(http.NotFoundHandler(), "ann", "secret", &said)
	for _, test := range []struct {
		name, user, password string
		status               int
		says                 string
	}{
		{"nobody", "", "", http.StatusUnauthorized, `refused ""`},
		{"another user", "bob", "secret", http.StatusUnauthorized, `refused "bob"`},
		{"a wrong password", "ann", "guess", http.StatusUnauthorized, `refused "ann"`},
		{"the user", "ann", "secret", http.StatusNotFound, `admitted "ann"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			said.Reset()
			request := httptest.NewRequest(http.MethodGet, "/v2/a/manifests/v1", http.NoBody)
			if test.user != "" {
				request.SetBasicAuth(test.user, test.password)
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if answer.Code != test.status {
				t.Errorf("status %d, want %d", answer.Code, test.status)
			}
			challenge := answer.Header().Get("WWW-Authenticate")
			if refused := test.status == http.StatusUnauthorized; strings.HasPrefix(challenge, "Basic ") != refused {
				t.Errorf("challenge %q", challenge)
			}
			if log := said.String(); !strings.HasPrefix(log, test.says) || !strings.HasSuffix(log, ": GET /v2/a/manifests/v1\n") {
				t.Errorf("log %q, want %q", log, test.says)
			}
		})
	}
}
