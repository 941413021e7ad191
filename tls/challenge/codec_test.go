package challenge

import (
	"slices"
	"strings"
	"testing"
)

func good() Challenge {
	return Challenge{Gateway: "default", Type: HTTP01, Name: "shop.test", Token: "tok_en-1", KeyAuthorization: "tok_en-1.thumb_print"}
}

func TestCodecKeepsChallenges(t *testing.T) {
	dns := good()
	dns.Type, dns.Gateway = DNS01, ""
	alpn := good()
	alpn.Type = TLSALPN01
	all := []Challenge{good(), dns, alpn, good()}
	text, err := Encode(all)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	if again, err := Encode(all); err != nil || string(again) != string(text) {
		t.Errorf("in another order they are\n%s\nand not\n%s (%v)", again, text, err)
	}
	got, err := Decode(text)
	if err != nil || len(got) != 3 || !slices.Contains(got, dns) || !slices.Contains(got, alpn) || !slices.Contains(got, good()) {
		t.Errorf("%v, %v", got, err)
	}
	digests := []string{dns.Digest(), alpn.Digest(), good().Digest()}
	if slices.Sort(digests); len(slices.Compact(digests)) != 3 || len(digests[0]) != 16 {
		t.Errorf("digests %v", digests)
	}
}

func TestNothingIsNoChallenges(t *testing.T) {
	empty, err := Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{nil, {}, empty, []byte("null")} {
		if got, err := Decode(text); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// A token becomes a path, and is somebody else's word.
func TestHostileChallengesAreRefused(t *testing.T) {
	for what, change := range map[string]func(*Challenge){
		"a token that climbs":        func(c *Challenge) { c.Token = "../admin"; c.KeyAuthorization = "../admin.thumb" },
		"a token with a query":       func(c *Challenge) { c.Token = "a?b"; c.KeyAuthorization = "a?b.thumb" },
		"an escape in a token":       func(c *Challenge) { c.Token = "a%2fb"; c.KeyAuthorization = "a%2fb.thumb" },
		"no token":                   func(c *Challenge) { c.Token = ""; c.KeyAuthorization = ".thumb" },
		"a long token":               func(c *Challenge) { c.Token = strings.Repeat("a", 600); c.KeyAuthorization = c.Token + ".thumb" },
		"an answer of another token": func(c *Challenge) { c.KeyAuthorization = "other.thumb" },
		"a script for an answer":     func(c *Challenge) { c.KeyAuthorization = c.Token + ".<script>" },
		"no answer":                  func(c *Challenge) { c.KeyAuthorization = "" },
		"a wildcard":                 func(c *Challenge) { c.Name = "*.shop.test" },
		"upper case":                 func(c *Challenge) { c.Name = "Shop.test" },
		"no name":                    func(c *Challenge) { c.Name = "" },
		"no gateway":                 func(c *Challenge) { c.Gateway = "" },
		"an unknown type":            func(c *Challenge) { c.Type = "http-02" },
	} {
		c := good()
		if change(&c); c.Validate() == nil {
			t.Errorf("%s is taken: %+v", what, c)
		}
		if _, err := Encode([]Challenge{good(), c}); err == nil {
			t.Errorf("%s is written", what)
		}
	}
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	text, err := Encode([]Challenge{good()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`[{"type":"dns-01","name":"a","token":"b","keyAuthorization":"b.c"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := Decode(text)
		if err != nil {
			return
		}
		for _, c := range all {
			if strings.ContainsAny(strings.TrimPrefix(c.Path(), PathPrefix), "/?#%. \n") {
				t.Errorf("path %q", c.Path())
			}
		}
	})
}
