package acme

import (
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// Options are what a Client needs.
type Options struct {
	Settings Settings
	// Account is stored before it is given here: its key is used at once.
	Account Account
	Now     func() time.Time
	Random  io.Reader
	// UserAgent says who we are, as "fairway/1.2".
	UserAgent string
	// Transport carries the requests; nil: one that trusts Settings.CABundle, or
	// the system's roots.
	Transport http.RoundTripper
}

// Client speaks with one authority for one account. It may be used by several
// goroutines at once.
//
// It remembers nothing that it could not ask for again: the directory, a nonce,
// the account's URL.
type Client struct {
	settings Settings
	key      crypto.Signer
	nowFunc  func() time.Time
	random   io.Reader
	agent    string
	http     *http.Client
	nonces   nonces
	permits  permits

	// opening is held by who learns the directory or registers, so that it is
	// done once; others wait no longer than their context.
	opening gate

	mu      sync.Mutex
	account Account
	known   directory // as it was at learned
	learned time.Time // zero: not yet
	open    *session  // nil before the account is registered
}

// New makes a client. It asks nobody anything.
func New(o Options) (*Client, error) {
	if fault := o.Settings.Fault(); fault != "" {
		return nil, errors.New(fault)
	}
	key, err := o.Account.signer()
	if err != nil {
		return nil, err
	}
	return &Client{
		settings: o.Settings, key: key, nowFunc: o.Now, random: o.Random, agent: o.UserAgent,
		http:    httpClient(o.Settings.CABundle, o.Transport),
		account: o.Account.at(o.Settings.Directory),
		permits: permits{live: map[string]bool{}}, opening: make(gate, 1),
	}, nil
}

func (c *Client) now() time.Time { return c.nowFunc() }

// Account is ours as it is known now.
func (c *Client) Account() Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account
}

// Close lets go of connections. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Check looks whether orders can be placed: the directory, the profile, and the
// account, which is registered if the authority does not know it. It returns the
// account to be stored, also with an error. Its errors are of type *Failure.
func (c *Client) Check(ctx context.Context) (Account, error) {
	if err := c.check(ctx); err != nil {
		failure := failureOf("register account", err, c.now())
		if failure.stranger {
			c.forget()
		}
		return c.Account(), failure
	}
	return c.Account(), nil
}

func (c *Client) check(ctx context.Context) error {
	dir, err := c.directory(ctx)
	if err != nil {
		return err
	}
	if err := dir.fault(c.settings); err != nil {
		return err
	}
	session, err := c.registered(ctx)
	if err != nil {
		return err
	}
	// What was stored may be of an authority that has forgotten us.
	found, err := session.library.GetReg(ctx, "")
	if errors.Is(err, xacme.ErrNoAccount) {
		c.forget()
		_, err = c.registered(ctx)
	}
	if err != nil || found == nil || !c.moved(found.Contact) {
		return err
	}
	_, err = session.library.UpdateReg(ctx, &xacme.Account{Contact: c.contact()})
	return err
}

// moved reports whether the authority knows another e-mail address of ours. One
// that does not tell, as Let's Encrypt, has none.
func (c *Client) moved(known []string) bool {
	return len(known) > 0 && c.settings.Email != "" && !slices.Equal(known, c.contact())
}

// contact is the e-mail address as ACME writes it.
func (c *Client) contact() []string {
	if c.settings.Email == "" {
		return nil
	}
	return []string{"mailto:" + c.settings.Email}
}

// Terms is the URL of the authority's terms of service; empty if it has none.
func (c *Client) Terms(ctx context.Context) (string, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return "", failureOf("read directory", err, c.now())
	}
	return dir.Meta.Terms, nil
}

// CAAIdentities are the authority's names in CAA records (RFC 8659); none if it
// does not say.
func (c *Client) CAAIdentities(ctx context.Context) ([]string, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, failureOf("read directory", err, c.now())
	}
	return dir.Meta.CAAIdentities, nil
}

// retryNonce has the library send again at once what was refused for its nonce,
// some times, and nothing else: everything else is a step that is done again.
func retryNonce(n int, _ *http.Request, answer *http.Response) time.Duration {
	if answer.StatusCode == http.StatusBadRequest && n < maxNonceTries {
		return time.Millisecond
	}
	return 0
}
