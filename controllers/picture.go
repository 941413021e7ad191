package controllers

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/certificate"
	"github.com/fairwaynet/fairway/controllers/clientca"
	"github.com/fairwaynet/fairway/xds/route"
)

// Picture is all that shall be served, and what is wrong with it.
type Picture struct {
	Settings map[route.Gateway]*route.Settings
	Hosts    map[route.Key]*route.Host
	Backends map[route.ServicePort]*route.Backend

	Certificates map[certificate.Key]*route.Certificate
	Authorities  map[route.Authority]*[]byte
	// ClientCAs are authorities of clients, in PEM.
	ClientCAs map[clientca.Key]*[]byte
	// Reports is the Problems of each reconciler's key that has any, as they
	// are reported.
	Reports map[any][]problem.Problem
}

// Problems is all of them, in order and without duplicates.
func (p *Picture) Problems() []problem.Problem {
	var all []problem.Problem
	for _, problems := range p.Reports {
		all = append(all, problems...)
	}
	return problem.Sort(all)
}

// FirstPass is the picture that the objects in the cache ask for. It publishes
// and reports nothing.
func (r *Road) FirstPass(ctx context.Context) (*Picture, error) {
	return r.reconcilers(r.Publisher).firstPass(ctx)
}

func (r *reconcilers) firstPass(ctx context.Context) (*Picture, error) {
	picture := &Picture{Reports: map[any][]problem.Problem{}}
	var err error
	if picture.Settings, err = pass(ctx, picture.Reports, r.gateways); err != nil {
		return nil, fmt.Errorf("gateways: %w", err)
	}
	for gateway, settings := range picture.Settings {
		r.certificates.Listens(gateway, settings.HTTPSPort != 0)
	}
	if picture.Backends, err = pass(ctx, picture.Reports, r.backends); err != nil {
		return nil, fmt.Errorf("endpoints: %w", err)
	}
	if picture.Hosts, err = pass(ctx, picture.Reports, r.hosts); err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	if picture.Certificates, err = pass(ctx, picture.Reports, r.certificates); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if picture.Authorities, err = pass(ctx, picture.Reports, r.authorities); err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	if picture.ClientCAs, err = pass(ctx, picture.Reports, r.clientCAs); err != nil {
		return nil, fmt.Errorf("authorities of clients: %w", err)
	}
	r.secrets.Settle(ctx, secretsPatience)
	return picture, errors.Join(
		complete(ctx, picture.Reports, picture.Certificates, r.certificates),
		complete(ctx, picture.Reports, picture.Authorities, r.authorities),
		complete(ctx, picture.Reports, picture.ClientCAs, r.clientCAs),
	)
}

// complete builds again what waited for Secrets. Where these have not come,
// nothing is built, and the key is reconciled when they do.
func complete[K comparable, V any](
	ctx context.Context, reports map[any][]problem.Problem, built map[K]*V,
	from interface {
		builder[K, V]
		Waiting() []K
	},
) error {
	for _, key := range from.Waiting() {
		if err := buildOne(ctx, reports, built, from, key); err != nil {
			return err
		}
	}
	return nil
}

// builder is a reconciler seen from the first pass: which keys there are, and
// what each asks for.
type builder[K comparable, V any] interface {
	Keys(context.Context) ([]K, error)
	Build(context.Context, K) (*V, []problem.Problem, error)
}

func pass[K comparable, V any](
	ctx context.Context, reports map[any][]problem.Problem, from builder[K, V],
) (map[K]*V, error) {
	keys, err := from.Keys(ctx)
	if err != nil {
		return nil, err
	}
	built := make(map[K]*V, len(keys))
	for _, key := range keys {
		if _, done := built[key]; done {
			continue
		}
		if err := buildOne(ctx, reports, built, from, key); err != nil {
			return nil, err
		}
	}
	return built, nil
}

func buildOne[K comparable, V any](
	ctx context.Context, reports map[any][]problem.Problem, built map[K]*V, from builder[K, V], key K,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	value, problems, err := from.Build(ctx, key)
	if err != nil {
		return err
	}
	if value != nil {
		built[key] = value
	}
	if len(problems) > 0 {
		reports[key] = problems
	}
	return nil
}
