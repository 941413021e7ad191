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
	// Account has been stored before: its key is used at once.
	Account Account
	Now     func() time.Time
	Random  io.Reader
	// UserAgent names this program, as "fairway/1.2".
	UserAgent string
	// Transport carries the requests. nil stands for one that trusts
	// Settings.CABundle, or else the system's roots.
	Transport http.RoundTripper
}

// Client speaks with one authority for one account. It may be used by several
// goroutines at once.
//
// It remembers only what it can ask for again: the directory, nonces, the
// account's URL.
type Client struct {
	settings Settings
	key      crypto.Signer
	nowFunc  func() time.Time
	random   io.Reader
	agent    string
	http     *http.Client
	nonces   nonces
	permits  permits

	// setupGate is held by the goroutine that reads the directory or registers the
	// account. Others wait for it no longer than their context lasts.
	setupGate gate

	mu              sync.Mutex
	account         Account
	cachedDirectory directory // as it was at cachedAt
	cachedAt        time.Time // zero: not yet
	session         *session  // nil before the account is registered
}

// New makes a client. It sends no request.
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
		permits: permits{live: map[string]bool{}}, setupGate: make(gate, 1),
	}, nil
}

func (c *Client) now() time.Time { return c.nowFunc() }

// Account is ours as it is known now.
func (c *Client) Account() Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Check looks whether orders can be placed. It reads the directory, checks the
// profile, and registers the account if the authority does not know it. It returns
// the account, which the caller stores, also with an error. Its errors are of type
// *Failure.
func (c *Client) Check(ctx context.Context) (Account, error) {
	if err := c.check(ctx); err != nil {
		failure := failureOf("register account", err, c.now())
		if failure.accountUnknown {
			c.forgetAccount()
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
	// The authority may have forgotten the account that was stored.
	found, err := session.library.GetReg(ctx, "")
	if errors.Is(err, xacme.ErrNoAccount) {
		c.forgetAccount()
		_, err = c.registered(ctx)
	}
	if err != nil || found == nil || !c.contactChanged(found.Contact) {
		return err
	}
	_, err = session.library.UpdateReg(ctx, &xacme.Account{Contact: c.contact()})
	return err
}

// contactChanged reports whether the authority knows another e-mail address of the account.
// Some authorities tell none, as Let's Encrypt.
func (c *Client) contactChanged(known []string) bool {
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

// retryNonce has the library repeat a request at once, some times, if it was
// refused for its nonce. After any other failure the whole step is repeated.
func retryNonce(n int, _ *http.Request, answer *http.Response) time.Duration {
	if answer.StatusCode == http.StatusBadRequest && n < maxNonceTries {
		return time.Millisecond
	}
	return 0
}
