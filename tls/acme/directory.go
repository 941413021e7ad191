package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// directory is an authority's description of itself (RFC 8555, 7.1.1).
type directory struct {
	NewNonce    string `json:"newNonce"`
	NewAccount  string `json:"newAccount"`
	NewOrder    string `json:"newOrder"`
	RenewalInfo string `json:"renewalInfo"` // RFC 9773; empty if it has none
	Meta        struct {
		Terms                   string            `json:"termsOfService"`
		CAAIdentities           []string          `json:"caaIdentities"`
		ExternalAccountRequired bool              `json:"externalAccountRequired"`
		Profiles                map[string]string `json:"profiles"`
	} `json:"meta"`
}

// directoryLife is how long a directory is used before it is read again: authorities
// add profiles, and seldom move.
const directoryLife = 6 * time.Hour

func (c *Client) directory(ctx context.Context) (directory, error) {
	if dir, ok := c.freshDirectory(); ok {
		return dir, nil
	}
	if err := c.setupGate.enter(ctx); err != nil {
		return directory{}, err
	}
	defer c.setupGate.leave()
	if dir, ok := c.freshDirectory(); ok {
		return dir, nil
	}
	dir, err := c.readDirectory(ctx)
	if err != nil {
		return directory{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cachedDirectory, c.cachedAt, c.session = dir, c.now(), nil // the library has one of its own
	return dir, nil
}

// freshDirectory is the directory, if it was read not long ago.
func (c *Client) freshDirectory() (directory, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cachedDirectory, !c.cachedAt.IsZero() && c.now().Sub(c.cachedAt) < directoryLife
}

func (c *Client) readDirectory(ctx context.Context) (directory, error) {
	answer, err := c.get(ctx, c.settings.Directory)
	var refusal *xacme.Error
	switch {
	case errors.As(err, &refusal) && isRefusal(err) && kindOfStatus(refusal.StatusCode) != RateLimited:
		return directory{}, noDirectory(c.settings.Directory, fmt.Sprintf("it answers %d", refusal.StatusCode))
	case err != nil:
		return directory{}, fmt.Errorf("read directory: %w", err)
	}
	var dir directory
	if err := json.Unmarshal(answer.body, &dir); err != nil {
		return directory{}, noDirectory(c.settings.Directory, "it is not JSON")
	}
	if dir.NewNonce == "" || dir.NewAccount == "" || dir.NewOrder == "" {
		return directory{}, noDirectory(c.settings.Directory, "it names no newNonce, newAccount and newOrder")
	}
	return dir, nil
}

// noDirectory does not end an order: the order goes on when somebody has mended the
// URL or the server.
func noDirectory(url, why string) error {
	return &Failure{Kind: Refused, Text: fmt.Sprintf(
		"what is at %s is no ACME directory, %s: check the issuer's directory URL", url, why)}
}

// fault is the reason why the authority would refuse every order of these settings.
func (d directory) fault(s Settings) error {
	switch _, offered := d.Meta.Profiles[s.Profile]; {
	case s.Profile != "" && len(d.Meta.Profiles) == 0:
		return refuse(fmt.Sprintf("the issuer has no profiles, so none is called %q: leave it out", s.Profile))
	case s.Profile != "" && !offered:
		return refuse(fmt.Sprintf("the issuer has no profile %q; it offers %s", s.Profile,
			strings.Join(slices.Sorted(maps.Keys(d.Meta.Profiles)), ", ")))
	case d.Meta.ExternalAccountRequired && s.ExternalAccount == nil:
		return refuse("the issuer wants an external account: " +
			"get a key ID and a key from it, and give them in its settings")
	}
	return nil
}

// errIncomplete is of an answer without a field that RFC 8555 requires.
var errIncomplete = errors.New("the issuer's answer lacks a field that it must have")
