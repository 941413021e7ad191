package edge

import (
	"context"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/edge/clientca"
	"github.com/fairwaynet/fairway/xds/route"
)

// Picture is everything that is to be served, and what is wrong with it.
type Picture struct {
	Settings map[route.Gateway]*route.Settings
	Hosts    map[route.Key]*route.Host
	Backends map[route.ServicePort]*route.Backend

	Certificates map[servercert.Key]*route.Certificate
	Authorities  map[route.Authority]*[]byte
	// ClientCAs are the authorities of clients, in PEM.
	ClientCAs map[clientca.Key]*[]byte
	// Reports are the Problems that are reported, by reconciler's key.
	Reports assembly.Problems
}

// Problems returns all Problems, in order and without duplicates.
func (p *Picture) Problems() []problem.Problem { return p.Reports.All() }

// FirstPass returns the picture that follows from the objects in the cache. It
// publishes and reports nothing.
func (c *Controllers) FirstPass(ctx context.Context) (*Picture, error) {
	parts := c.parts(c.Publisher)
	problems, err := c.assemble(parts).FirstPass(ctx)
	if err != nil {
		return nil, err
	}
	return &Picture{
		Settings:     parts.gateways.Values(),
		Hosts:        parts.hosts.Values(),
		Backends:     parts.backends.Values(),
		Certificates: parts.certificates.Values(),
		Authorities:  parts.backendCAs.Values(),
		ClientCAs:    parts.clientCAs.Values(),
		Reports:      problems,
	}, nil
}
