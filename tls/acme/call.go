package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	xacme "golang.org/x/crypto/acme"
)

// maxNonceTries bounds how often a request is sent that the authority refuses for
// its nonce alone: authorities forget nonces, all at once when they restart.
const maxNonceTries = 20

// answer is a successful HTTP response of the authority.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get sends a request that needs no account.
func (c *Client) get(ctx context.Context, url string) (answer, error) {
	return c.call(ctx, http.MethodGet, url, nil)
}

// post sends a request of the account's; one with a nil payload changes nothing. A
// refusal comes back as *xacme.Error.
func (c *Client) post(ctx context.Context, url string, payload any) (answer, error) {
	session, err := c.registered(ctx)
	if err != nil {
		return answer{}, err
	}
	for try := 1; ; try++ {
		nonce, err := c.nonce(ctx)
		if err != nil {
			return answer{}, err
		}
		body, err := sign(c.key, session.account.URL, nonce, url, payload)
		if err != nil {
			return answer{}, err
		}
		a, err := c.call(ctx, http.MethodPost, url, body)
		if try == maxNonceTries || !isProblem(err, "badNonce") {
			return a, err
		}
	}
}

// nonce is an unused nonce of the authority.
func (c *Client) nonce(ctx context.Context) (string, error) {
	if nonce := c.nonces.take(); nonce != "" {
		return nonce, nil
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	if _, err := c.call(ctx, http.MethodHead, dir.NewNonce, nil); err != nil {
		return "", fmt.Errorf("ask for a nonce: %w", err)
	}
	if nonce := c.nonces.take(); nonce != "" {
		return nonce, nil
	}
	return "", errors.New("ask for a nonce: the issuer gives none")
}

// call makes one HTTP call.
func (c *Client) call(ctx context.Context, method, url string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("User-Agent", c.agent)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/jose+json")
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	c.nonces.put(response.Header.Get("Replay-Nonce"))
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, &cutOffError{url, err}
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return answer{}, problemOf(response, text)
	}
	return answer{response.StatusCode, response.Header, text}, nil
}

// cutOffError is an answer that did not come whole.
type cutOffError struct {
	url   string
	cause error
}

func (e *cutOffError) Error() string { return "read answer of " + e.url + ": " + e.cause.Error() }
func (e *cutOffError) Unwrap() error { return e.cause }

// problemOf reads a problem document (RFC 7807), or makes one of any other text.
func problemOf(response *http.Response, text []byte) error {
	var document wireProblem
	if err := json.Unmarshal(text, &document); err != nil || document.Type+document.Detail == "" {
		document = wireProblem{Detail: oneLine(string(text), maxDetail)}
		if document.Detail == "" {
			document.Detail = response.Status
		}
	}
	problem := document.problem()
	problem.StatusCode, problem.Header = response.StatusCode, response.Header
	return problem
}

// isProblem reports whether the authority refused a request for that reason.
func isProblem(err error, kind string) bool {
	var problem *xacme.Error
	return errors.As(err, &problem) && strings.EqualFold(kindOf(problem.ProblemType), kind)
}

// maxNonces bounds how many nonces are kept: each answer brings one, and each
// request takes one.
const maxNonces = 16

// nonces are unused nonces of the authority.
type nonces struct {
	mu     sync.Mutex
	unused []string
}

func (n *nonces) put(nonce string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if nonce != "" && len(n.unused) < maxNonces {
		n.unused = append(n.unused, nonce)
	}
}

// take is the nonce that came last, or empty: the authority may have forgotten
// older ones.
func (n *nonces) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.unused) == 0 {
		return ""
	}
	last := n.unused[len(n.unused)-1]
	n.unused = n.unused[:len(n.unused)-1]
	return last
}
