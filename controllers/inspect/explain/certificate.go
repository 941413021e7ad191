package explain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/xds/route"
)

// defaultName is the name of the default certificate.
const defaultName = string(route.AnyHost)

// Certificate is what a client gets in the TLS handshake, as the Secrets stand.
type Certificate struct {
	// Name is the name that has the certificate: the full name, the wildcard that
	// covers it, or "*" for the default certificate.
	Name string `json:"name"`
	// Why says why it is the default certificate; empty if it is not.
	Why string `json:"why,omitempty"`
	// Shown lists the certificate's Secret. There are two if there is one for each
	// kind of key. There are none if the Secret is not known, or if it is the
	// default certificate of all gateways.
	Shown []CertificateOf `json:"shown"`
	// Unread are Secrets, namespace/name, that take precedence but were not read:
	// they are not among the files, or could not be read.
	Unread []string `json:"unread,omitempty"`
}

// CertificateOf is a certificate in a Secret.
type CertificateOf struct {
	Secret    string    `json:"secret"` // namespace/name
	Names     []string  `json:"names"`
	Key       string    `json:"key"` // "ECDSA" or "RSA"
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`

	names string // for people
}

// present says which certificate a client is shown that connects with the server
// name, if it sends one. host serves requests for the name; nil: none does. shown is
// false if there is no certificate for the client, so that the handshake fails.
func (w *trace) present(ctx context.Context, name route.Hostname, sent bool, host *route.Host) (shown bool, err error) {
	why := fmt.Sprintf("no Ingress names a Secret for %s", name)
	if !sent {
		name, why = route.AnyHost, "the client sends no server name"
	}
	partial := secretcache.New(w.objects.Cluster, nil, nil).Partial(
		func(secret types.NamespacedName) bool { return !w.question.MissingSecrets[secret] })
	secrets := servercert.New(w.objects, partial, nil, nil, servercert.Options{})
	looked, broken := servercert.Preview{}, false
	look := func(name route.Hostname) bool {
		found, failed := secrets.Look(ctx, servercert.Key{Gateway: w.gateway, Host: name})
		looked, err = found, errors.Join(err, failed)
		w.said.Problems = append(w.said.Problems, found.Problems...)
		has := len(found.Found)+len(found.Unread) > 0
		if name != route.AnyHost && !has && len(found.Problems) > 0 && !broken {
			why, broken = fmt.Sprintf("no Secret for %s can be used", name), true
		}
		return has
	}
	owner, shown := route.CertificateFor(name, look, host.Answers)
	if !shown || err != nil {
		return false, err
	}
	if owner == route.AnyHost && name != route.AnyHost {
		look(owner)
	}
	w.said.Certificate = certificateOf(owner, looked)
	if owner == route.AnyHost {
		w.said.Certificate.Why = why
	}
	return true, err
}

func certificateOf(name route.Hostname, looked servercert.Preview) *Certificate {
	c := &Certificate{Name: string(name), Shown: []CertificateOf{}}
	for _, found := range looked.Found {
		key := "ECDSA"
		if found.RSA {
			key = "RSA"
		}
		c.Shown = append(c.Shown, CertificateOf{
			Secret: found.Secret.String(), Names: found.DNSNames, Key: key,
			NotBefore: found.NotBefore, NotAfter: found.NotAfter, names: found.Names(),
		})
	}
	for _, secret := range looked.Unread {
		c.Unread = append(c.Unread, secret.String())
	}
	return c
}

// lines returns the text for people, line by line.
func (c *Certificate) lines() []string {
	var lines []string
	for _, secret := range c.Unread {
		lines = append(lines, fmt.Sprintf("the certificate in Secret %s, which was not looked into", secret))
	}
	for _, shown := range c.Shown {
		lines = append(lines, "the certificate "+shown.String())
	}
	if len(c.Unread) > 0 {
		for i := range lines[1:] {
			lines[i+1] = "or else " + lines[i+1]
		}
	}
	if c.Name == defaultName {
		if len(lines) == 0 {
			lines = []string{"the default certificate of all gateways"}
		} else {
			lines[0] = "the default certificate" + strings.TrimPrefix(lines[0], "the certificate")
		}
		lines = append(lines, "because "+c.Why)
	}
	return lines
}

// String returns text such as "in Secret shop/web-tls, ECDSA, for shop.test, until
// 2027-01-31".
func (c CertificateOf) String() string {
	const day = "2006-01-02"
	term, now := "until "+c.NotAfter.UTC().Format(day), time.Now()
	switch {
	case now.After(c.NotAfter):
		term = "which expired on " + c.NotAfter.UTC().Format(day)
	case now.Before(c.NotBefore):
		term = "which is not valid before " + c.NotBefore.UTC().Format(day)
	}
	return fmt.Sprintf("in Secret %s, %s, for %s, %s", c.Secret, c.Key, c.names, term)
}
