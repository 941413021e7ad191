package acme

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"

	xacme "golang.org/x/crypto/acme"

	"github.com/fairwaynet/fairway/tls/certificate"
)

// finalize has the certificate issued for the order's key. It asks for the order
// first: a lost request may have finalized it already, and then it goes on from
// there.
func (c *Client) finalize(ctx context.Context, o Order) (Order, error) {
	there, err := c.order(ctx, o.URL, nil)
	if err != nil {
		return o, err
	}
	if there.Status == xacme.StatusReady {
		request, err := c.request(o)
		if err != nil {
			return o, err
		}
		there, err = c.order(ctx, there.Finalize, request)
		if err != nil {
			return o, err
		}
	}
	switch there.Status {
	case xacme.StatusValid:
		if there.Certificate == "" {
			return o, errIncomplete
		}
		o.State, o.Download = Downloading, there.Certificate
		return o, nil
	case xacme.StatusInvalid:
		return o, validationFailure("", there.Error.problem())
	}
	return c.wait(o, there.retry, "the issuer is issuing"), nil
}

// request is the payload that finalizes an order: a certificate signing request
// for its key.
func (c *Client) request(o Order) (any, error) {
	key, err := parseKey(o.Key)
	if err != nil {
		return nil, fmt.Errorf("the order's key: %w", err)
	}
	// No common name: it is a relic, and longer names do not fit into it.
	der, err := x509.CreateCertificateRequest(c.random, &x509.CertificateRequest{
		Subject: pkix.Name{}, DNSNames: o.Want.Names,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return map[string]string{"csr": base64.RawURLEncoding.EncodeToString(der)}, nil
}

// download gets the certificate. It counts only if it is the one that was wanted.
func (c *Client) download(ctx context.Context, o Order) (Order, error) {
	session, err := c.registered(ctx)
	if err != nil {
		return o, err
	}
	chain, err := c.chain(ctx, session.library, o.Download)
	if err != nil {
		return o, err
	}
	got, fault := certificate.Parse(chain, o.Key.Reveal())
	if fault == "" {
		fault = c.misfit(got, o.Want)
	}
	if fault != "" {
		return o, &Failure{Kind: Bug, Text: "the issuer gave a certificate that cannot be used: " + fault, endsAttempt: true}
	}
	return Order{
		Want: o.Want, Replaces: o.Replaces, State: Done, Key: o.Key, Began: o.Began, URL: o.URL, Chain: got.Chain,
	}, nil
}

// misfit is the reason why a certificate is not the one that was wanted.
func (c *Client) misfit(got *certificate.Certificate, want Want) string {
	if !slices.Equal(normal(got.DNSNames), want.Names) {
		return "it is for " + got.Names()
	}
	if now := c.now(); now.After(got.NotAfter) {
		return got.ValidAt(now)
	}
	return ""
}

// chain is the certificate with its issuers, in PEM: the chain that the settings
// prefer, or the authority's first.
func (c *Client) chain(ctx context.Context, library *xacme.Client, url string) ([]byte, error) {
	first, err := library.FetchCert(ctx, url, true)
	if err != nil || c.settings.Chain == "" || endsAt(first, c.settings.Chain) {
		return encode(first), err
	}
	others, err := library.ListCertAlternates(ctx, url)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		chain, err := library.FetchCert(ctx, other, true)
		if err != nil {
			return nil, err
		}
		if endsAt(chain, c.settings.Chain) {
			return encode(chain), nil
		}
	}
	return encode(first), nil
}

// endsAt reports whether the last certificate of a chain was issued by that name.
func endsAt(chain [][]byte, name string) bool {
	last, err := x509.ParseCertificate(chain[len(chain)-1])
	return err == nil && last.Issuer.CommonName == name
}

func encode(chain [][]byte) []byte {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}
