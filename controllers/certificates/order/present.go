package order

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/tls/acme"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
)

// answers returns what Envoys and controllers must know of an order: each of its
// challenges, once for every gateway that serves the name.
func (t *task) answers(order acme.Order) ([]challenge.Challenge, error) {
	var all []challenge.Challenge
	for _, c := range order.Challenges() {
		its := t.challengesOf(c)
		if len(its) == 0 {
			return nil, fmt.Errorf("answer for %s: no gateway serves it", c.Name)
		}
		all = append(all, its...)
	}
	return all, nil
}

// challengesOf returns the challenge, once for each gateway that serves its name.
func (t *task) challengesOf(c acme.Challenge) []challenge.Challenge {
	plain := challenge.Challenge{
		Type: challenge.Type(c.Type), Name: c.Name, Token: c.Token, KeyAuthorization: c.KeyAuthorization,
	}
	if plain.Type == challenge.DNS01 {
		return []challenge.Challenge{plain}
	}
	var all []challenge.Challenge
	for _, gateway := range t.gatewaysOf(c.Name) {
		plain.Gateway = string(gateway)
		all = append(all, plain)
	}
	return all
}

// gatewaysOf returns the gateways of the Ingresses that want the name in the
// certificate.
func (t *task) gatewaysOf(name string) []route.Gateway {
	var gateways []route.Gateway
	for _, r := range t.objects.Requests {
		if r.Issuer != t.spec.Issuer {
			continue
		}
		names := route.TLSNamesBySecret(r.Ingress, t.key.Name)
		if slices.ContainsFunc(names, func(n route.Hostname) bool { return strings.TrimPrefix(string(n), "*.") == name }) {
			gateways = append(gateways, r.Gateway)
		}
	}
	slices.Sort(gateways)
	return slices.Compact(gateways)
}

// presenter is an acme.Presenter that asks for all gateways of a challenge.
type presenter struct{ *task }

// Presented implements acme.Presenter.
func (p presenter) Presented(ctx context.Context, c acme.Challenge) (ok bool, why string, err error) {
	for _, each := range p.challengesOf(c) {
		is, err := p.Presenter.Presented(ctx, p.spec.Issuer, each)
		if is.Obstacle != nil {
			p.obstacle = is.Obstacle
		}
		p.outcome.Own = err != nil
		if err != nil || !is.OK {
			return false, is.Why, err
		}
	}
	return true, "", nil
}

// takeBack removes what was set up for the challenges of an order, except those
// that are still needed. It returns what it could not remove: the next step tries
// that again.
func (r *Reconciler) takeBack(ctx context.Context, order *storedOrder, needed []challenge.Challenge) (left []challenge.Challenge) {
	if order == nil || order.object == nil {
		return nil
	}
	before, err := challenge.Decode(order.object.Data[challenge.SecretKey])
	if err != nil {
		r.Log.Error(err, "cannot tell what was answered for an order", "secret", order.object.Namespace+"/"+order.object.Name)
		return nil
	}
	for _, c := range before {
		if slices.Contains(needed, c) {
			continue
		}
		if err := r.Presenter.Remove(ctx, order.issuer(), c); err != nil {
			r.Log.Error(err, "cannot take back the answer to a challenge", "challenge", c.String())
			left = append(left, c)
		}
	}
	return left
}
