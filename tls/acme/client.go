package acme

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
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

	mu      sync.Mutex
	account Account
	known   directory // as it was at learned
	learned time.Time // zero: not yet
	open    *session  // nil before the account is registered
}

// session is an account at an authority, ready to be used.
type session struct {
	account Account
	library *xacme.Client
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
		permits: permits{live: map[string]bool{}},
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
	stored := c.Account().URL != ""
	session, err := c.registered(ctx)
	if err != nil || !stored {
		return err
	}
	// What was stored may be of an authority that has forgotten us.
	if _, err = session.library.GetReg(ctx, ""); errors.Is(err, xacme.ErrNoAccount) {
		c.forget()
		_, err = c.registered(ctx)
	}
	return err
}

// Terms is the URL of the authority's terms of service; empty if it has none.
func (c *Client) Terms(ctx context.Context) (string, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return "", failureOf("read directory", err, c.now())
	}
	return dir.Meta.Terms, nil
}

// registered is the session; there is an account afterwards, if it succeeds.
func (c *Client) registered(ctx context.Context) (*session, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open != nil {
		return c.open, nil
	}
	library := &xacme.Client{
		Key: c.key, HTTPClient: c.http, DirectoryURL: c.settings.Directory, UserAgent: c.agent,
		KID: xacme.KeyID(c.account.URL), RetryBackoff: retryNonce,
	}
	if c.account.URL == "" {
		found, err := c.register(ctx, library, dir)
		if err != nil {
			return nil, err
		}
		c.account.URL, c.account.Orders = found.URI, found.OrdersURL
		library.KID = xacme.KeyID(found.URI)
	}
	c.open = &session{c.account, library}
	return c.open, nil
}

// register asks first whether there is an account of this key: an answer to an
// earlier registration may have been lost.
func (c *Client) register(ctx context.Context, library *xacme.Client, dir directory) (*xacme.Account, error) {
	found, err := library.GetReg(ctx, "")
	if !errors.Is(err, xacme.ErrNoAccount) {
		return found, err
	}
	if dir.Meta.Terms != "" && !c.settings.TermsAgreed {
		return nil, refuse(fmt.Sprintf("the issuer has terms of service, %s: agree to them in its settings", dir.Meta.Terms))
	}
	asked := &xacme.Account{}
	if c.settings.Email != "" {
		asked.Contact = []string{"mailto:" + c.settings.Email}
	}
	if e := c.settings.ExternalAccount; e != nil {
		mac, err := e.mac()
		if err != nil {
			return nil, refuse(e.fault())
		}
		asked.ExternalAccountBinding = &xacme.ExternalAccountBinding{KID: e.KeyID, Key: mac}
	}
	made, err := library.Register(ctx, asked, xacme.AcceptTOS)
	if errors.Is(err, xacme.ErrAccountAlreadyExists) { // another replica was there first
		return library.GetReg(ctx, "")
	}
	return made, err
}

// forget has the account asked for anew: the authority does not know it.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account = Account{Key: c.account.Key, Directory: c.account.Directory}
	c.open = nil
}

// retryNonce has the library send again at once what was refused for its nonce,
// some times, and nothing else: everything else is a step that is done again.
func retryNonce(n int, _ *http.Request, answer *http.Response) time.Duration {
	if answer.StatusCode == http.StatusBadRequest && n < maxNonceTries {
		return time.Millisecond
	}
	return 0
}
