package acme

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
)

// Challenge is a question that an authority will ask of a name, and its answer.
// Answers are no secrets: whoever asks may have them.
type Challenge struct {
	// Name is who is asked: a host, never with "*.": a wildcard is proven by
	// its parent.
	Name  string        `json:"name"`
	Type  ChallengeType `json:"type"`
	Token string        `json:"token"`
	// KeyAuthorization is the answer of HTTP01, and what those of the others are
	// made from.
	KeyAuthorization string `json:"keyAuthorization"`
}

// Path is where HTTP01 asks, on port 80 of the name.
func (c Challenge) Path() string { return "/.well-known/acme-challenge/" + c.Token }

// Digest is what TLSALPN01 wants in the extension acmeIdentifier of a self-signed
// certificate for the name (RFC 8737, 3).
func (c Challenge) Digest() [sha256.Size]byte { return sha256.Sum256([]byte(c.KeyAuthorization)) }

// RecordName is where DNS01 looks for a TXT record, without a dot at its end.
func (c Challenge) RecordName() string { return "_acme-challenge." + c.Name }

// Record is what the TXT record holds. A name may need several at once: one of
// its own and one for the wildcard.
func (c Challenge) Record() string {
	digest := c.Digest()
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// Presenter says whether challenges are answered: by all who may be asked.
type Presenter interface {
	// Presented reports whether whoever asks this challenge gets its answer. If
	// not, why says what it waits for, for people, without the name. It is asked
	// again, less and less often. An error means that it could not find out.
	Presented(ctx context.Context, challenge Challenge) (ok bool, why string, err error)
}
