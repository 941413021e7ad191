package acme

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	xacme "golang.org/x/crypto/acme"
)

// place has the authority make the order, or finds the order there.
func (c *Client) place(ctx context.Context, o Order) (Order, error) {
	o.Unsure = o.Unsure || !c.permits.held(o.Permit)
	dir, session, err := c.checkOrder(ctx, o.Want)
	if err != nil {
		return o, err
	}
	if o.Unsure || !c.permits.take(o.Permit) {
		placed, err := c.search(ctx, session, o.Want)
		if err != nil {
			return o, err
		}
		if placed != nil {
			return placedOrder(o, *placed), nil
		}
	}
	placed, err := c.newOrder(ctx, dir, o)
	if err == nil {
		return placedOrder(o, placed), nil
	}
	o.Unsure = !isRefusal(err)
	if refusesReplaces(err, o) { // the new certificate is wanted all the same
		o.Replaces = ""
		if !o.Unsure {
			err = nil
		}
	}
	if o.Unsure {
		return o, err
	}
	permit, wrong := c.permits.give(c.random)
	o.Permit = permit
	return o, errors.Join(err, wrong)
}

// checkOrder checks whether the order can succeed, and registers the account if there
// is none.
func (c *Client) checkOrder(ctx context.Context, want Want) (directory, *session, error) {
	if fault := want.fault(c.settings.challenges()); fault != "" {
		return directory{}, nil, refuse(fault)
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return dir, nil, err
	}
	settings := c.settings
	settings.Profile = want.Profile
	if err := dir.fault(settings); err != nil {
		return dir, nil, err
	}
	session, err := c.registered(ctx)
	return dir, session, err
}

// isRefusal reports whether the authority itself refused a request, so that nothing
// has changed there.
func isRefusal(err error) bool {
	var problem *xacme.Error
	return errors.As(err, &problem) && problem.StatusCode >= 400 && problem.StatusCode < 500
}

func (c *Client) newOrder(ctx context.Context, dir directory, o Order) (wireOrder, error) {
	request := struct {
		Identifiers []wireIdentifier `json:"identifiers"`
		Profile     string           `json:"profile,omitempty"`
		Replaces    string           `json:"replaces,omitempty"`
	}{Profile: o.Want.Profile}
	for _, name := range o.Want.Names {
		request.Identifiers = append(request.Identifiers, wireIdentifier{"dns", name})
	}
	if dir.RenewalInfo != "" {
		request.Replaces = o.Replaces
	}
	a, err := c.post(ctx, dir.NewOrder, request)
	if err != nil {
		return wireOrder{}, err
	}
	return c.readOrder(a, a.header.Get("Location"))
}

// refusesReplaces reports whether the authority may have refused an order because of
// its field "replaces": with 409 alreadyReplaced (RFC 9773, 5), or because it does
// not know that certificate, or the certificate is another account's or for other
// names, to which Pebble answers 500. Without the field the order counts against
// rate limits, and succeeds.
func refusesReplaces(err error, o Order) bool {
	var problem *xacme.Error
	if o.Replaces == "" || !errors.As(err, &problem) {
		return false
	}
	switch strings.ToLower(kindOf(problem.ProblemType)) {
	case "alreadyreplaced":
		return true
	case "ratelimited", "badnonce", "accountdoesnotexist", "useractionrequired", "rejectedidentifier":
		return false
	}
	return problem.StatusCode != http.StatusTooManyRequests && problem.StatusCode != http.StatusServiceUnavailable
}

// placedOrder is the order with the authority's URLs and dates.
func placedOrder(o Order, placed wireOrder) Order {
	o.State, o.Unsure = Authorizing, false
	o.URL, o.Finalize, o.Expires = placed.url, placed.Finalize, placed.Expires
	o.Authorizations = nil
	for _, url := range placed.Authorizations {
		o.Authorizations = append(o.Authorizations, Authorization{URL: url})
	}
	return o
}

// The bounds of one search.
const (
	maxPages = 50
	maxLooks = 200
)

// search looks for an order that an earlier request may have made, among those that
// the authority lists for the account (RFC 8555, 7.1.2.1). It returns nil if there
// is none, or no list. Let's Encrypt has no list, but answers the same request with
// the same order while that is open.
func (c *Client) search(ctx context.Context, session *session, want Want) (*wireOrder, error) {
	page := session.account.Orders
	if page == "" {
		found, err := session.library.GetReg(ctx, "")
		if err != nil {
			return nil, err
		}
		page = found.OrdersURL
	}
	looks := 0
	for range maxPages {
		if page == "" {
			break
		}
		urls, next, err := c.listOrders(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, url := range urls {
			if looks++; looks > maxLooks {
				return nil, nil
			}
			found, err := c.order(ctx, url, nil)
			switch {
			case isMissing(err): // forgotten since
			case err != nil:
				return nil, err
			case found.fits(want, c.now()):
				return &found, nil
			}
		}
		page = next
	}
	return nil, nil
}

// isMissing reports whether the authority answered 404.
func isMissing(err error) bool {
	var problem *xacme.Error
	return errors.As(err, &problem) && problem.StatusCode == http.StatusNotFound
}

// listOrders is one page of the account's orders, and the URL of the next.
func (c *Client) listOrders(ctx context.Context, page string) (urls []string, next string, err error) {
	a, err := c.post(ctx, page, nil)
	if isMissing(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	var list struct{ Orders []string }
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, "", errIncomplete
	}
	return list.Orders, link(a.header, "next"), nil
}

// link is the target of the first link of that relation (RFC 8288).
func link(h http.Header, relation string) string {
	for _, value := range h.Values("Link") {
		for one := range strings.SplitSeq(value, ",") {
			target, parameters, _ := strings.Cut(strings.TrimSpace(one), ";")
			for parameter := range strings.SplitSeq(parameters, ";") {
				name, what, _ := strings.Cut(strings.TrimSpace(parameter), "=")
				if strings.EqualFold(name, "rel") && strings.Trim(what, `"`) == relation {
					return strings.Trim(strings.TrimSpace(target), "<>")
				}
			}
		}
	}
	return ""
}
