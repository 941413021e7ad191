package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	ours "github.com/fairwaynet/fairway/tls/acme"
)

var (
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	issuer = ours.Settings{Directory: "https://ca.test/dir"}
)

const daily = 24 * time.Hour

// made is a certificate that was issued at noon, with its key.
func made(t testing.TB, life time.Duration, curve elliptic.Curve, names ...string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x87654321), Subject: pkix.Name{CommonName: "x"}, DNSNames: names,
		NotBefore: noon, NotAfter: noon.Add(life), AuthorityKeyId: []byte{1, 2, 3, 4}, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM(t, private)
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestMustItBeIssued(t *testing.T) {
	chain, key := made(t, 90*daily, elliptic.P256(), "a.test", "*.b.test")
	short, shortKey := made(t, 6*daily, elliptic.P256(), "a.test", "*.b.test")
	_, otherKey := made(t, daily, elliptic.P256(), "a.test")
	id, err := ours.CertificateID(chain)
	if err != nil {
		t.Fatal(err)
	}
	info := func(from, to time.Duration) ours.RenewalInfo {
		return ours.RenewalInfo{ID: id, Start: noon.Add(from), End: noon.Add(to), Explanation: "https://ca.test/why"}
	}
	good := ours.Situation{
		Want: issuer.Want("*.B.test", "a.test."), Chain: chain, Key: key, Directory: issuer.Directory, Now: noon.Add(time.Hour),
	}
	for _, c := range []struct {
		name   string
		change func(*ours.Situation)
		want   ours.Reason
		says   string
	}{
		{"all is well", func(*ours.Situation) {}, "", "renewal is due on 2027-01-"},
		{"nothing is there", func(s *ours.Situation) { s.Chain, s.Key = nil, nil }, ours.Absent, "there is no certificate yet"},
		{"half is there", func(s *ours.Situation) { s.Key = nil }, ours.Unusable, "there is no key in it"},
		{"it cannot be read", func(s *ours.Situation) { s.Chain = []byte("x") }, ours.Unusable, "the chain cannot be read: it is not PEM"},
		{"another key", func(s *ours.Situation) { s.Key = otherKey }, ours.KeyMismatch, "the key does not belong to the certificate"},
		{"a name more", func(s *ours.Situation) { s.Want = issuer.Want("a.test", "*.b.test", "c.test") }, ours.NamesDiffer,
			"the certificate is for a.test, *.b.test, and wanted is one for *.b.test, a.test, c.test"},
		{"a name less", func(s *ours.Situation) { s.Want = issuer.Want("a.test") }, ours.NamesDiffer, "wanted is one for a.test"},
		{"another issuer", func(s *ours.Situation) { s.Directory = "https://old.test/dir" }, ours.IssuerChanged,
			"the certificate is from https://old.test/dir, and wanted is one from https://ca.test/dir"},
		{"nobody knows the issuer", func(s *ours.Situation) { s.Directory = "" }, "", ""},
		{"another key type", func(s *ours.Situation) { s.Want.KeyType = ours.RSA2048 }, ours.KeyTypeChanged,
			"the key is of type ECDSA-P256, and wanted is RSA-2048"},
		{"expired", func(s *ours.Situation) { s.Now = noon.Add(91 * daily) }, ours.Expired, "the certificate expired on 2027-02-21T12:00:00Z"},

		{"the issuer suggests a time to come", func(s *ours.Situation) { s.Info = info(10*daily, 11*daily) }, "",
			"the issuer suggests 2026-12-03 12:00 UTC to 2026-12-04 12:00 UTC"},
		{"in its window, after the point", func(s *ours.Situation) { s.Info, s.Now = info(10*daily, 11*daily), noon.Add(11*daily-time.Second) },
			ours.WindowReached, "renewal is due on 2026-12-0"},
		{"in its window, before the point", func(s *ours.Situation) { s.Info, s.Now = info(10*daily, 11*daily), noon.Add(10*daily) }, "", ""},
		{"after its window", func(s *ours.Situation) { s.Info, s.Now = info(10*daily, 11*daily), noon.Add(11*daily) }, ours.Recalled,
			"the issuer asks for another certificate at once: its window ended on 2026-12-04 12:00 UTC, see https://ca.test/why"},
		{"of another certificate", func(s *ours.Situation) { s.Info = info(-2, -1); s.Info.ID = "x.y" }, "", ""},
		{"when it is too late", func(s *ours.Situation) { s.Info, s.Now = info(89*daily, 95*daily), noon.Add(61*daily) }, ours.LifeSpent, ""},

		{"a third left", func(s *ours.Situation) { s.Now = noon.Add(60*daily + time.Second) }, ours.LifeSpent,
			"about a third of the certificate's life is left then"},
		{"more than a third left, and the spread", func(s *ours.Situation) { s.Now = noon.Add(57*daily - time.Second) }, "", ""},
		{"short, half left", func(s *ours.Situation) { s.Chain, s.Key, s.Now = short, shortKey, noon.Add(3*daily+time.Second) },
			ours.LifeSpent, "about half of the certificate's life is left then"},
		{"short, more than half left", func(s *ours.Situation) { s.Chain, s.Key, s.Now = short, shortKey, noon.Add(2*daily) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.change(&s)
			got := ours.Judge(s)
			if got.Reason != c.want || !strings.Contains(got.Text, c.says) || got.Issue() != (c.want != "") {
				t.Errorf("got %q: %s", got.Reason, got.Text)
			}
			if strings.Contains(got.Text, "PRIVATE") {
				t.Error("it tells of the key")
			}
			if !got.Issue() { // until then it stays as it is, and not after
				before, then := s, s
				before.Now, then.Now = got.At.Add(-time.Second), got.At.Add(time.Second)
				if ours.Judge(before).Issue() || !ours.Judge(then).Issue() {
					t.Errorf("at %s: %+v, then %+v", got.At, ours.Judge(before), ours.Judge(then))
				}
			}
		})
	}
}

// The example of RFC 9773, 4.1.
func TestTheCertificateIDOfTheRFC(t *testing.T) {
	const example = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----`
	got, err := ours.CertificateID([]byte(example))
	if want := "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// The points of many certificates fill their window evenly, and each keeps its.
func TestPointsAreSpreadOverTheWindow(t *testing.T) {
	var first, second int
	for n := range 1000 {
		info := ours.RenewalInfo{ID: "aki." + big.NewInt(int64(n)).String(), Start: noon, End: noon.Add(daily)}
		point := info.Point()
		if point.Before(info.Start) || !point.Before(info.End) || !point.Equal(info.Point()) {
			t.Fatalf("point %s", point)
		}
		if point.Before(noon.Add(daily / 2)) {
			first++
		} else {
			second++
		}
	}
	if first < 400 || second < 400 {
		t.Errorf("%d in the first half, %d in the second", first, second)
	}
}

func TestBackoff(t *testing.T) {
	for failures, want := range []time.Duration{
		time.Minute, time.Minute, 10 * time.Minute, 100 * time.Minute, daily, daily, daily,
	} {
		if got := ours.Backoff(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
}

// However it is taken from, no more than Most go in any Per, and what is left
// comes back.
func TestABudget(t *testing.T) {
	budget := ours.Budget{Most: 10, Per: time.Hour}
	var taken []time.Time
	for now := noon; now.Before(noon.Add(5 * time.Hour)); now = now.Add(time.Minute) {
		for {
			next, when, ok := budget.Take(now)
			if !ok {
				if !when.After(now) || when.Sub(now) > time.Hour {
					t.Fatalf("at %s, the next is there at %s", now, when)
				}
				if _, _, ok := budget.Take(when); !ok {
					t.Fatal("it is not there when it was said to be")
				}
				break
			}
			budget = next
			taken = append(taken, now)
		}
	}
	// All at once, then one each six minutes.
	if len(taken) < 10+4*10 || len(taken) > 10+5*10 || !taken[9].Equal(noon) || taken[10].Equal(noon) {
		t.Errorf("%d were taken", len(taken))
	}
	if _, _, ok := (ours.Budget{}).Take(noon); ok {
		t.Error("the zero value allows one")
	}
}
