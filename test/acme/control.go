package acme

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// SetAddresses sets one or more IPv4 addresses of a name. The default is
// 127.0.0.1.
func (a *Authority) SetAddresses(t testing.TB, name string, addresses ...string) {
	t.Helper()
	a.dnsControl(t, "clear-a", map[string]any{"host": name})
	a.dnsControl(t, "add-a", map[string]any{"host": name, "addresses": addresses})
}

// SetTXT adds a TXT record to a name.
func (a *Authority) SetTXT(t testing.TB, name, value string) {
	t.Helper()
	a.dnsControl(t, "set-txt", map[string]any{"host": name + ".", "value": value})
}

// ClearTXT removes all TXT records of a name.
func (a *Authority) ClearTXT(t testing.TB, name string) {
	t.Helper()
	a.dnsControl(t, "clear-txt", map[string]any{"host": name + "."})
}

// SetCAA allows only these authorities to issue for a name.
func (a *Authority) SetCAA(t testing.TB, name string, authorities ...string) {
	t.Helper()
	var policies []map[string]string
	for _, authority := range authorities {
		policies = append(policies, map[string]string{"tag": "issue", "value": authority})
	}
	a.dnsControl(t, "add-caa", map[string]any{"host": name, "policies": policies})
}

// SetFailing makes the DNS server answer every question for a name with SERVFAIL,
// or stops that.
func (a *Authority) SetFailing(t testing.TB, name string, failing bool) {
	t.Helper()
	what := "clear-servfail"
	if failing {
		what = "set-servfail"
	}
	a.dnsControl(t, what, map[string]any{"host": name})
}

func (a *Authority) dnsControl(t testing.TB, what string, body any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err == nil {
		_, err = a.do(t.Context(), http.MethodPost, "http://"+a.control+"/"+what, text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// SetRenewalInfo makes the authority suggest a time in which to renew the first
// certificate of a chain (PEM). It explains why at a URL, which may be empty.
func (a *Authority) SetRenewalInfo(t testing.TB, chain []byte, start, end time.Time, explanation string) {
	t.Helper()
	info := map[string]any{"suggestedWindow": map[string]time.Time{"start": start, "end": end}}
	if explanation != "" {
		info["explanationURL"] = explanation
	}
	text, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	a.SetRenewalAnswer(t, chain, string(text))
}

// SetRenewalAnswer sets the literal answer to a request for renewal information,
// valid or not.
func (a *Authority) SetRenewalAnswer(t testing.TB, chain []byte, answer string) {
	t.Helper()
	text, err := json.Marshal(map[string]string{"Certificate": string(chain), "ARIResponse": answer})
	if err == nil {
		_, err = a.do(t.Context(), http.MethodPost, "https://"+a.management+"/set-renewal-info/", text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Root is the root certificate, in PEM, of the chain with this number: 0 is the
// authority's first chain, others are alternate chains.
func (a *Authority) Root(t testing.TB, number int) []byte {
	t.Helper()
	url := fmt.Sprintf("https://%s/roots/%d", a.management, number)
	text, err := a.do(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Roots are the certificates that a client of the issued names must trust.
func (a *Authority) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for number := range a.options.AlternateRoots + 1 {
		if !pool.AppendCertsFromPEM(a.Root(t, number)) {
			t.Fatal("its root is not PEM")
		}
	}
	return pool
}
