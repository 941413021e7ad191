package acme_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	ours "github.com/fairwaynet/fairway/tls/acme"
)

// anOrder is one of which every field is set.
func anOrder(t testing.TB) ours.Order {
	t.Helper()
	client, err := ours.New(ours.Options{
		Settings: issuer, Account: newAccount(t), Now: func() time.Time { return noon }, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	order := plan(t, client, "aki.serial", "a.test")
	order.State = ours.Authorizing
	order.Due, order.Expires = noon.Add(1), noon.Add(2)
	order.Waiting, order.Failures, order.Stumbles, order.Unsure = "for something", 1, 2, true
	order.Failure = &ours.Failure{Kind: ours.Refused, Text: "why", At: noon, Until: noon.Add(3)}
	order.URL, order.Finalize, order.Download, order.Chain = "https://o", "https://f", "https://d", []byte("chain")
	order.Authorizations = []ours.Authorization{{
		URL: "https://a", Accept: "https://c", Accepted: true,
		Challenge: &ours.Challenge{Name: "a.test", Type: ours.DNS01, Token: "token", KeyAuthorization: "token.thumb"},
	}}
	return order
}

func TestWhatIsSavedIsRestored(t *testing.T) {
	order := anOrder(t)
	value := reflect.ValueOf(order)
	for i := range value.NumField() {
		if value.Field(i).IsZero() {
			t.Errorf("the test does not set %s", value.Type().Field(i).Name)
		}
	}
	again := stored(t, order)
	if !again.Key.Equal(order.Key) || len(again.Key.Reveal()) == 0 {
		t.Error("another key")
	}
	again.Key, order.Key = secret.Bytes{}, secret.Bytes{}
	if !reflect.DeepEqual(again, order) {
		t.Errorf("saved %+v, restored %+v", order, again)
	}
	if got := again.Challenges(); len(got) != 1 || got[0] != *order.Authorizations[0].Challenge {
		t.Errorf("challenges %+v", got)
	}
}

// Only Save writes a key: no format, log or JSON of an order or account does.
func TestKeysDoNotShow(t *testing.T) {
	order, account := anOrder(t), newAccount(t)
	mac := secret.New([]byte("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajV"))
	settings := ours.Settings{ExternalAccount: &ours.ExternalAccount{KeyID: "kid", Key: mac}}
	saved, err := order.Save()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, value := range []any{order, &order, account, &account, settings, settings.ExternalAccount, saved, ours.Options{Settings: settings, Account: account}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("said", "value", value)
		if _, ok := value.(ours.Options); ok {
			continue // it holds functions
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	for _, key := range []secret.Bytes{order.Key, account.Key, mac} {
		middle := string(key.Reveal()[len(key.Reveal())/3:][:12])
		for _, leak := range []string{middle, fmt.Sprintf("%x", middle), strings.Trim(fmt.Sprintf("%d", []byte(middle)), "[]")} {
			if strings.Contains(out.String(), leak) {
				t.Errorf("%q shows", leak)
			}
		}
	}
	if strings.Contains(out.String(), "PRIVATE") {
		t.Error("a key shows")
	}
}

func TestWhatCannotBeRestored(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":       `hunter2`,
		"no state":      `{"key":"aHVudGVyMg=="}`,
		"unknown state": `{"state":"Eating","key":"aHVudGVyMg=="}`,
		"no key":        `{"state":"Planned"}`,
		"a broken key":  `{"state":"Planned","key":"aHVudGVyMg=="}`,
	} {
		if _, err := ours.Restore([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: order: %v", name, err)
		}
		if _, err := ours.RestoreAccount([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: account: %v", name, err)
		}
	}
}

func TestFaultsOfSettings(t *testing.T) {
	eab := func(id, key string) *ours.ExternalAccount {
		return &ours.ExternalAccount{KeyID: id, Key: secret.New([]byte(key))}
	}
	for _, c := range []struct {
		name   string
		change func(*ours.Settings)
		want   string
	}{
		{"none", func(*ours.Settings) {}, ""},
		{"no directory", func(s *ours.Settings) { s.Directory = "" }, `the directory "" is not an https URL`},
		{"plain HTTP", func(s *ours.Settings) { s.Directory = "http://ca.test/dir" }, "is not an https URL"},
		{"no mail address", func(s *ours.Settings) { s.Email = "me" }, `the e-mail address "me" is none`},
		{"key type", func(s *ours.Settings) { s.KeyType = "DSA" }, `the key type "DSA" is unknown; use one of [ECDSA-P256 `},
		{"challenge", func(s *ours.Settings) { s.Challenges = []ours.ChallengeType{"tls-sni-01"} }, `the challenge type "tls-sni-01" is unknown`},
		{"bundle", func(s *ours.Settings) { s.CABundle = []byte("x") }, "the CA bundle cannot be used: it is not PEM"},
		{"external account", func(s *ours.Settings) { s.ExternalAccount = eab("kid", "c2Vj+_==") }, ""},
		{"without ID", func(s *ours.Settings) { s.ExternalAccount = eab("", "c2Vj") }, "the external account has no key ID"},
		{"without key", func(s *ours.Settings) { s.ExternalAccount = eab("kid", "") }, "the external account has no key"},
		{"not base64url", func(s *ours.Settings) { s.ExternalAccount = eab("kid", "hunter two") }, "the key of the external account is not base64url"},
	} {
		settings := issuer
		c.change(&settings)
		got := settings.Fault()
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNameSets(t *testing.T) {
	other := ours.Settings{Directory: "https://other.test"}
	a := issuer.Want("B.test", "a.test.", "a.test")
	if b := issuer.Want("a.test", "b.test"); !a.Equal(b) || a.NameSet() != b.NameSet() {
		t.Errorf("%v and %v differ", a, b)
	}
	for _, b := range []ours.Want{issuer.Want("a.test"), other.Want("a.test", "b.test")} {
		if a.Equal(b) || a.NameSet() == b.NameSet() {
			t.Errorf("%v and %v are the same", a, b)
		}
	}
}

// Whatever a Secret holds, Restore ends, and what it takes it writes again.
func FuzzRestore(f *testing.F) {
	saved, err := anOrder(f).Save()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Reveal())
	f.Add([]byte(`{"state":"Done"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		order, err := ours.Restore(text)
		if err != nil {
			return
		}
		order.Challenges()
		order.Certificate()
		again, err := order.Save()
		if err != nil {
			return // years beyond 9999, which JSON cannot write
		}
		if _, err := ours.Restore(again.Reveal()); err != nil {
			t.Fatal(err)
		}
	})
}
