package acme

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// RenewalInfo says when an authority suggests to renew a certificate (RFC 9773). The
// zero value suggests nothing.
type RenewalInfo struct {
	// ID names the certificate; empty if the authority knows no renewal info.
	ID string `json:"id,omitempty"`
	// Start and End bound the time to renew in; zero if not known. Both in the
	// past mean at once: the certificate is revoked, or about to be.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Explanation is the URL of a page that tells people why; may be empty.
	Explanation string `json:"explanation,omitempty"`
	// Next is when to ask again.
	Next time.Time `json:"next,omitzero"`
	// Failures is how many requests in a row failed.
	Failures int `json:"failures,omitempty"`
}

// Known reports whether there is a suggestion.
func (i RenewalInfo) Known() bool { return i.Start.Before(i.End) }

// Replaces is the field "replaces" of an order that renews this certificate; empty
// if the authority does not know the certificate.
func (i RenewalInfo) Replaces() string {
	if !i.Known() {
		return ""
	}
	return i.ID
}

// Point is the moment in the window to renew at: a random one, as RFC 9773 asks, but
// always the same for one certificate, so that neither a restart nor another replica
// throws the dice again.
func (i RenewalInfo) Point() time.Time {
	return i.Start.Add(time.Duration(float64(i.End.Sub(i.Start)) * fraction(i.ID)))
}

// How often to ask.
const (
	askUsually = 12 * time.Hour // RFC 9773 leaves it to the client
	askMost    = time.Minute
)

// RenewalInfo asks about the first certificate of a chain in PEM. It needs no
// account. known is its last result for the same certificate, or zero. Before
// known.Next it sends no request and returns known. After an error it returns known
// with a later Next. So the caller keeps the result in any case.
func (c *Client) RenewalInfo(ctx context.Context, chain []byte, known RenewalInfo) (RenewalInfo, error) {
	now := c.now()
	id, err := CertificateID(chain)
	if err != nil {
		return RenewalInfo{Next: now.Add(askUsually)}, err
	}
	if known.ID != "" && known.ID != id {
		known = RenewalInfo{}
	}
	if now.Before(known.Next) {
		return known, nil
	}
	info, err := c.askRenewalInfo(ctx, id)
	if err != nil {
		known.Failures++
		known.ID = id
		known.Next = now.Add(spread(min(Backoff(known.Failures), askUsually), id))
		failure := failureOf("ask for renewal information", err, now)
		if failure.Until.After(known.Next) {
			known.Next = failure.Until
		}
		return known, failure
	}
	return info, nil
}

func (c *Client) askRenewalInfo(ctx context.Context, id string) (RenewalInfo, error) {
	now := c.now()
	dir, err := c.directory(ctx)
	if err != nil {
		return RenewalInfo{}, err
	}
	if dir.RenewalInfo == "" {
		return RenewalInfo{Next: now.Add(askUsually)}, nil
	}
	answer, err := c.get(ctx, strings.TrimSuffix(dir.RenewalInfo, "/")+"/"+id)
	if err != nil {
		return RenewalInfo{}, err
	}
	var body struct {
		SuggestedWindow struct{ Start, End time.Time }
		ExplanationURL  string
	}
	if err := json.Unmarshal(answer.body, &body); err != nil {
		return RenewalInfo{}, errors.New("the issuer's answer cannot be read")
	}
	info := RenewalInfo{
		ID: id, Start: body.SuggestedWindow.Start, End: body.SuggestedWindow.End,
		Explanation: oneLine(body.ExplanationURL, maxDetail), Next: retryAfter(answer.header, now),
	}
	if !info.Known() {
		return RenewalInfo{}, errors.New("the issuer suggests a window that ends before it starts")
	}
	if info.Next.IsZero() {
		info.Next = now.Add(spread(askUsually, id))
	}
	if soonest := now.Add(askMost); info.Next.Before(soonest) {
		info.Next = soonest
	}
	return info, nil
}

// CertificateID is the name in RFC 9773 of the first certificate of a chain in PEM:
// its issuer's key identifier and its serial number.
func CertificateID(chain []byte) (string, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return "", fmt.Errorf("name certificate: %w", err)
	}
	if len(leaf.AuthorityKeyId) == 0 {
		return "", errors.New("name certificate: it has no authority key identifier")
	}
	der, err := asn1.Marshal(leaf.SerialNumber)
	if err != nil {
		return "", fmt.Errorf("name certificate: %w", err)
	}
	var serial asn1.RawValue // its bytes, with the zero that keeps it positive
	if _, err := asn1.Unmarshal(der, &serial); err != nil {
		return "", fmt.Errorf("name certificate: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode(leaf.AuthorityKeyId) + "." + encode(serial.Bytes), nil
}

func leafOf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(bytes.TrimSpace(chain))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("there is no PEM block of type CERTIFICATE first")
	}
	return x509.ParseCertificate(block.Bytes)
}
