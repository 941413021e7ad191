package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/xds/route"
)

// start is when all tests begin.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// authority is one that was made at a time.
func authority(t *testing.T, at time.Time) Authorities {
	t.Helper()
	made, _, err := Policy{}.Succeed(Files{}, Files{}, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// filesOf is what is kept of authorities.
func filesOf(t *testing.T, a Authorities) Files {
	t.Helper()
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func issue(t *testing.T, to Subject, by Authorities, at time.Time) Files {
	t.Helper()
	files, err := Policy{}.Issue(to, by, at)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func leaf(t *testing.T, files Files) *x509.Certificate {
	t.Helper()
	pair, _, err := files.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestWhenACertificateIsRenewedAndWhy(t *testing.T) {
	first := authority(t, start)
	both, _, err := Policy{}.Succeed(filesOf(t, first), Files{}, nil, start.Add(300*day))
	if err != nil {
		t.Fatal(err)
	}
	stranger := authority(t, start)
	blue := Gateway("blue")
	ours := issue(t, blue, first, start)
	another := issue(t, blue, first, start)

	for _, test := range []struct {
		name   string
		have   Files
		by     Authorities
		at     time.Time
		reason string
	}{
		{"a fresh one stays", ours, first, start, ""},
		{"it stays for most of its life", ours, first, start.Add(20*day - time.Second), ""},
		{"there is none", Files{}, first, start, "it is missing"},
		{"somebody emptied the Secret", Files{CA: ours.CA}, first, start, "it cannot be read"},
		{"somebody wrote rubbish", Files{CA: ours.CA, Certificate: []byte("x"), Key: []byte("y")}, first, start, "it cannot be read"},
		{"the key is another's", Files{CA: ours.CA, Certificate: ours.Certificate, Key: another.Key}, first, start, "it cannot be read"},
		{"it is of another gateway", issue(t, Gateway("green"), first, start), first, start, "it is for somebody else"},
		{"it is of a controller", issue(t, Controllers("", "fairway-system"), first, start), first, start, "it is for somebody else"},
		{"a stranger has signed it", issue(t, blue, stranger, start), first, start, "nobody who is trusted has signed it"},
		{"it has expired", ours, first, start.Add(31 * day), "it has expired"},
		{"it will expire", ours, first, start.Add(20 * day), "two thirds of its life are over"},
		{"the authority has just been replaced", withCA(issue(t, blue, first, start.Add(300*day)), both), both, start.Add(300 * day), ""},
		{"everybody knows the new authority", withCA(issue(t, blue, first, start.Add(300*day)), both), both, start.Add(300*day + time.Hour), "its authority has been replaced"},
		{"there is another authority to know", issue(t, blue, first, start.Add(300*day)), both, start.Add(300 * day), "the trusted authorities have changed"},
		{"somebody broke the bundle", Files{CA: []byte("x"), Certificate: ours.Certificate, Key: ours.Key}, first, start, "the trusted authorities have changed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			next, reason, err := Policy{}.Renew(test.have, blue, test.by, test.at)
			if err != nil || reason != test.reason {
				t.Fatalf("because %q, %v; want %q", reason, err, test.reason)
			}
			kept := bytes.Equal(next.Certificate, test.have.Certificate) && bytes.Equal(next.Key, test.have.Key)
			if wantKept := reason == "" || reason == "the trusted authorities have changed"; kept != wantKept {
				t.Errorf("certificate and key are kept: %t, want %t", kept, wantKept)
			}
			if again, reason, err := (Policy{}).Renew(next, blue, test.by, test.at); reason != "" || err != nil || !again.Equal(next) {
				t.Errorf("what was just renewed is renewed again: %q, %v", reason, err)
			}
			if name, err := GatewayOf(leaf(t, next)); name != "blue" || err != nil {
				t.Errorf("it is of gateway %q, %v", name, err)
			}
		})
	}
}

func withCA(files Files, by Authorities) Files {
	files.CA = by.bundle
	return files
}

func TestWhenAnAuthorityIsReplacedAndWhy(t *testing.T) {
	first := authority(t, start)
	have := filesOf(t, first)
	controllers := issue(t, Controllers("", "fairway-system"), first, start)
	later := start.Add(300 * day)
	both, _, err := Policy{}.Succeed(have, controllers, nil, later)
	if err != nil {
		t.Fatal(err)
	}
	signedByNew := issue(t, Controllers("", "fairway-system"), both, later.Add(time.Hour))
	gatewayByOld := issue(t, Gateway("blue"), first, later)

	for _, test := range []struct {
		name        string
		have        Files
		controllers Files
		gateways    []Files
		at          time.Time
		reason      string
		trusted     int
	}{
		{"a fresh one stays", have, controllers, nil, start, "", 1},
		{"it stays for most of its life", have, controllers, nil, start.Add(243 * day), "", 1},
		{"there is none", Files{}, Files{}, nil, start, "it is missing", 1},
		{"somebody deleted it: what it signed is still trusted", Files{}, controllers, nil, start, "it is missing", 2},
		{"somebody wrote rubbish", Files{CA: []byte("x"), Certificate: []byte("x"), Key: []byte("y")}, controllers, nil, start, "it cannot be read", 2},
		{"it is a gateway's", issue(t, Gateway("blue"), first, start), controllers, nil, start, "it is no authority", 2},
		{"somebody broke the bundle", Files{CA: []byte("x"), Certificate: have.Certificate, Key: have.Key}, controllers, nil, start, "the trusted authorities have changed", 1},
		{"it will expire", have, controllers, nil, start.Add(250 * day), "two thirds of its life are over", 2},
		{"it expired long ago", have, controllers, nil, start.Add(500 * day), "two thirds of its life are over", 1},
		{"the old one stays while the controllers use it", filesOf(t, both), controllers, nil, later.Add(10 * time.Hour), "", 2},
		{"the old one stays until all know the new certificates", filesOf(t, both), signedByNew, nil, later.Add(90 * time.Minute), "", 2},
		{"the old one stays while a gateway uses it", filesOf(t, both), signedByNew, []Files{gatewayByOld}, later.Add(10 * time.Hour), "", 2},
		{"nobody needs the old one", filesOf(t, both), signedByNew, nil, later.Add(2 * time.Hour), "the trusted authorities have changed", 1},
		{"the old one expires", filesOf(t, both), controllers, nil, start.Add(366 * day), "the trusted authorities have changed", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			next, reason, err := Policy{}.Succeed(test.have, test.controllers, test.gateways, test.at)
			if err != nil || reason != test.reason {
				t.Fatalf("because %q, %v; want %q", reason, err, test.reason)
			}
			trusted, err := certificates(next.bundle)
			if err != nil || len(trusted) != test.trusted {
				t.Errorf("%d authorities are trusted, %v; want %d", len(trusted), err, test.trusted)
			}
			if !slices.ContainsFunc(trusted, next.signer.certificate.Equal) {
				t.Error("who signs is not trusted")
			}
			again, reason, err := Policy{}.Succeed(filesOf(t, next), test.controllers, test.gateways, test.at)
			if reason != "" || err != nil || !bytes.Equal(again.bundle, next.bundle) {
				t.Errorf("what has just succeeded is succeeded again: %q, %v", reason, err)
			}
		})
	}
}

// A year and a half of a cluster, looked at every quarter of an hour when
// something happens: whoever
// reads what was written within an hour is never refused by anybody else.
func TestNobodyIsRefusedWhileEverythingIsRenewed(t *testing.T) {
	const late = time.Hour - time.Minute
	var ca, controllers, gateway Files
	type version struct {
		files Files
		at    time.Time
	}
	read := map[string][]version{} // what each has read, newest last
	write := func(who string, files Files, at time.Time) {
		read[who] = append(read[who], version{files, at.Add(late)})
	}
	held := func(who string, at time.Time) Files {
		var files Files
		for i, v := range read[who] {
			if i == 0 || !v.at.After(at) {
				files = v.files
			}
		}
		return files
	}
	renewals, authorities := 0, map[string]bool{}
	var then time.Time
	changed := start
	for now := start; now.Before(start.Add(550 * day)); now = then {
		then = now.Add(12 * time.Hour)
		if now.Sub(changed) < 3*time.Hour {
			then = now.Add(15 * time.Minute)
		}
		by, reason, err := Policy{}.Succeed(ca, controllers, []Files{gateway}, now)
		if err != nil {
			t.Fatal(err)
		}
		if reason != "" {
			ca = filesOf(t, by)
			authorities[string(ca.Certificate)] = true
		}
		for who, subject := range map[string]Subject{"controllers": Controllers("", "fairway-system"), "gateway": Gateway("blue")} {
			files := map[string]*Files{"controllers": &controllers, "gateway": &gateway}[who]
			next, reason, err := Policy{}.Renew(*files, subject, by, now)
			if err != nil {
				t.Fatal(err)
			}
			if reason != "" {
				*files = next
				renewals++
				changed, then = now, now.Add(15*time.Minute)
				write(who, next, now)
			}
		}
		for _, at := range []time.Time{now, now.Add(7 * time.Minute)} {
			meet(t, held("controllers", at), held("gateway", at), at)
			meet(t, controllers, held("gateway", at), at)
			meet(t, held("controllers", at), gateway, at)
		}
	}
	if len(authorities) != 3 || renewals < 50 || renewals > 80 {
		t.Errorf("%d authorities and %d renewals in a year and a half", len(authorities), renewals)
	}
}

// meet fails the test unless a controller and a gateway with these files trust
// one another.
func meet(t *testing.T, controllers, gateway Files, at time.Time) {
	t.Helper()
	serverPair, serverRoots, err1 := controllers.Pair()
	clientPair, clientRoots, err2 := gateway.Pair()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if _, err := clientPair.Leaf.Verify(x509.VerifyOptions{
		Roots: serverRoots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Fatalf("%s: the controllers refuse the gateway: %v", at, err)
	}
	if _, err := serverPair.Leaf.Verify(x509.VerifyOptions{
		Roots: clientRoots, CurrentTime: at, DNSName: ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		t.Fatalf("%s: the gateway refuses the controllers: %v", at, err)
	}
}

func TestWhoseCertificateItIs(t *testing.T) {
	for _, test := range []struct {
		uris []string
		want route.Gateway
	}{
		{[]string{"fairway://gateway/blue"}, "blue"},
		{[]string{"fairway://gateway/shop/blue"}, "shop/blue"},
		{[]string{"fairway://gateway/a%2Fb"}, "a/b"},
		{nil, ""},
		{[]string{"fairway://gateway/"}, ""},
		{[]string{"fairway://gateway"}, ""},
		{[]string{"fairway://controller/blue"}, ""},
		{[]string{"https://gateway/blue"}, ""},
		{[]string{"fairway://x@gateway/blue"}, ""},
		{[]string{"fairway://gateway/blue?x"}, ""},
		{[]string{"fairway://gateway/blue", "fairway://gateway/green"}, ""},
	} {
		certificate := &x509.Certificate{}
		for _, text := range test.uris {
			uri, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			certificate.URIs = append(certificate.URIs, uri)
		}
		if got, err := GatewayOf(certificate); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%v: gateway %q, %v; want %q", test.uris, got, err, test.want)
		}
	}
}

func TestEveryGatewayHasASecretOfItsOwn(t *testing.T) {
	long := strings.Repeat("x", 240)
	for name, want := range map[route.Gateway][2]string{
		"default":   {"fairway-gateway-default", "edge-gateway-default"},
		"shop/blue": {"fairway-gateway-shop.blue", "edge-gateway-shop.blue"},
	} {
		if got := [2]string{SecretOf("", name), SecretOf("edge", name)}; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	seen := map[string]route.Gateway{}
	for _, name := range []route.Gateway{"shop/blue", "shop.blue", "shop-blue", "shop/b.lue", "shop.b/lue", "a/" + route.Gateway(long), "a/" + route.Gateway(long) + "y", "b/" + route.Gateway(long)} {
		secret := SecretOf("", name)
		if other, taken := seen[secret]; taken || len(secret) > maxName {
			t.Errorf("%s: %s, which is also that of %q", name, secret, other)
		}
		seen[secret] = name
	}
}

// Gateways verify one name at the controllers of every installation. Clients inside the
// cluster reach them by the names of their own Service.
func TestControllersHaveTheNamesOfTheirService(t *testing.T) {
	for of, want := range map[installation.Name][]string{
		"":        {"fairway-controller", "fairway-controller.ns", "fairway-controller.ns.svc"},
		"fairway": {"fairway-controller", "fairway-controller.ns", "fairway-controller.ns.svc"},
		"edge":    {"fairway-controller", "edge-controller", "edge-controller.ns", "edge-controller.ns.svc"},
	} {
		files := issue(t, Controllers(of, "ns"), authority(t, start), start)
		if got := leaf(t, files).DNSNames; !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", of, got, want)
		}
	}
}

func TestKeysAreNeverShown(t *testing.T) {
	files := issue(t, Gateway("blue"), authority(t, start), start)
	key := string(files.Key[len("-----BEGIN PRIVATE KEY-----\n"):60])
	encoded, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(files), fmt.Sprintf("%v", files), fmt.Sprintf("%+v", files), fmt.Sprintf("%#v", files),
		fmt.Sprintf("%s %q %x %d", files.Key, files.Key, files.Key, files.Key), string(encoded),
	} {
		if strings.Contains(text, key) || !strings.Contains(text, "(secret)") {
			t.Errorf("shown: %s", text)
		}
	}
}
