package acme

import (
	"context"
	"errors"
	"fmt"

	xacme "golang.org/x/crypto/acme"
)

// session is an account at an authority, ready to be used.
type session struct {
	account Account
	library *xacme.Client
}

// gate lets one through at a time.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

// registered is the session. It registers the account if there is none yet.
func (c *Client) registered(ctx context.Context) (*session, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	if s := c.current(); s != nil {
		return s, nil
	}
	if err := c.setupGate.enter(ctx); err != nil {
		return nil, err
	}
	defer c.setupGate.leave()
	if s := c.current(); s != nil {
		return s, nil
	}
	account := c.Account()
	library := &xacme.Client{
		Key: c.key, HTTPClient: c.http, DirectoryURL: c.settings.Directory, UserAgent: c.agent,
		KID: xacme.KeyID(account.URL), RetryBackoff: retryNonce,
	}
	if account.URL == "" {
		found, err := c.register(ctx, library, dir)
		if err != nil {
			return nil, err
		}
		account.URL, account.Orders = found.URI, found.OrdersURL
		library.KID = xacme.KeyID(found.URI)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account, c.session = account, &session{account, library}
	return c.session, nil
}

// current is the session; nil if there is none yet.
func (c *Client) current() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// register registers the account. It asks first whether there is one of this key:
// the answer to an earlier registration may have been lost.
func (c *Client) register(ctx context.Context, library *xacme.Client, dir directory) (*xacme.Account, error) {
	found, err := library.GetReg(ctx, "")
	if !errors.Is(err, xacme.ErrNoAccount) {
		return found, err
	}
	if dir.Meta.Terms != "" && !c.settings.TermsAgreed {
		return nil, refuse(fmt.Sprintf("the issuer has terms of service, %s: agree to them in its settings", dir.Meta.Terms))
	}
	asked := &xacme.Account{Contact: c.contact()}
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

// forgetAccount has the account registered anew: the authority does not know it.
func (c *Client) forgetAccount() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account = Account{Key: c.account.Key, Directory: c.account.Directory}
	c.session = nil
}
