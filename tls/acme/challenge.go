package acme

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
)

// Challenge is a question that an authority will ask of a name, and its answer.
// Answers are not secret: anybody may ask for them.
type Challenge struct {
	// Name is the host that is asked. It never begins with "*.": a wildcard is
	// proved by its parent.
	Name  string        `json:"name"`
	Type  ChallengeType `json:"type"`
	Token string        `json:"token"`
	// KeyAuthorization is the answer of HTTP01. The answers of the other types are
	// made from it.
	KeyAuthorization string `json:"keyAuthorization"`
}

// Path is where HTTP01 asks, on port 80 of the name.
func (c Challenge) Path() string { return "/.well-known/acme-challenge/" + c.Token }

// Digest is the content of the extension acmeIdentifier that TLSALPN01 expects in a
// self-signed certificate for the name (RFC 8737, 3).
func (c Challenge) Digest() [sha256.Size]byte { return sha256.Sum256([]byte(c.KeyAuthorization)) }

// RecordName is where DNS01 looks for a TXT record, without a dot at its end.
func (c Challenge) RecordName() string { return "_acme-challenge." + c.Name }

// Record is what the TXT record holds. A name may need several at once: one of
// its own and one for the wildcard.
func (c Challenge) Record() string {
	digest := c.Digest()
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// Presenter says whether challenges are answered by every server that an authority
// may ask.
type Presenter interface {
	// Presented reports whether the challenge is answered everywhere. If not, why
	// tells people what it waits for, without the name, and the client asks again,
	// less and less often. An error means that the presenter could not find out.
	Presented(ctx context.Context, challenge Challenge) (ok bool, why string, err error)
}
