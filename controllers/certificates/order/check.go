package order

import (
	"context"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// Check returns what is wrong with what Ingresses ask of Issuers, as it is
// written. A missing Issuer is no Problem: it may exist where these objects will
// be. Check does not look for Secrets.
func Check(ctx context.Context, objects index.Objects) ([]problem.Problem, error) {
	asks, err := objects.Asks(ctx)
	if err != nil {
		return nil, err
	}
	ingresses, err := objects.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, ing := range ingresses {
		if asks.Of(ing).Issuer != "" {
			keys = append(keys, secretsOf(ing)...)
		}
	}
	var problems []problem.Problem
	for _, key := range unique(keys) {
		gathered, err := gather(ctx, objects, key)
		if err != nil {
			return nil, err
		}
		_, found := Wanted(key, gathered)
		for _, p := range found {
			if p.Reason != ReasonIssuerNotFound {
				problems = append(problems, p)
			}
		}
	}
	return problem.Sort(problems), nil
}
