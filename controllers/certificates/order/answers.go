package order

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/acme"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

// Envoys says whether all Envoys answer a challenge. It is challenge.AllReplicas,
// or challenge.Set if there is only one replica.
type Envoys interface {
	Presented(ctx context.Context, c challenge.Challenge) (ok bool, why string, err error)
}

// Answers has challenges answered: by Envoys and controllers, which read them from
// the Secrets of orders, or by the DNS of an Issuer. It is the Presenter and the
// Prechecker of a Reconciler.
type Answers struct {
	Envoys    Envoys
	Objects   index.Objects
	Secrets   secretstore.Store
	Namespace string // of the Secrets of Issuers
	Resolver  *dns.Resolver
	Checker   *obstacle.Checker
	Now       func() time.Time
	Log       logr.Logger
}

var (
	_ Presenter  = (*Answers)(nil)
	_ Prechecker = (*Answers)(nil)
)

// Presented implements Presenter. Once our own Envoys answer, it asks for the
// challenge as an authority will. A wrong answer from the place to which DNS leads
// would cost a failed validation. No answer at all proves nothing: the authority
// may reach what we cannot.
func (a *Answers) Presented(ctx context.Context, issuer string, c challenge.Challenge) (Presented, error) {
	if c.Type == challenge.DNS01 {
		return a.presentedByDNS(ctx, issuer, c)
	}
	if ok, why, err := a.Envoys.Presented(ctx, c); err != nil || !ok {
		return Presented{Why: why}, err
	}
	found, unknown := a.Checker.BeforeAccept(ctx, c)
	if unknown != nil {
		a.Log.V(1).Info("cannot ask as an authority would; going on", "challenge", c.String(), "cause", unknown.Error())
	}
	if found != nil {
		return Presented{Why: found.Message, Obstacle: found}, nil
	}
	return Presented{OK: true}, nil
}

func (a *Answers) presentedByDNS(ctx context.Context, issuer string, c challenge.Challenge) (Presented, error) {
	solver, err := a.solver(ctx, issuer)
	if err != nil {
		return Presented{}, err
	}
	if err := solver.Present(ctx, c); err != nil {
		return Presented{}, err
	}
	ok, why, err := solver.Presented(ctx, c)
	return Presented{OK: ok, Why: why}, err
}

// Remove implements Presenter.
func (a *Answers) Remove(ctx context.Context, issuer string, c challenge.Challenge) error {
	if c.Type != challenge.DNS01 {
		return nil // it goes with the order
	}
	solver, err := a.solver(ctx, issuer)
	if err != nil {
		return err
	}
	return solver.Remove(ctx, c)
}

// Obstacle implements Prechecker.
func (a *Answers) Obstacle(ctx context.Context, account *Account, name string) *obstacle.Obstacle {
	wish := obstacle.Wish{Name: name, Account: account.Client.Account().URL}
	for _, t := range account.Settings.Challenges {
		if !strings.HasPrefix(name, "*.") || t == acme.DNS01 {
			wish.Types = append(wish.Types, challenge.Type(t))
		}
	}
	identities, err := account.Client.CAAIdentities(ctx)
	wish.Identities = identities
	found, unknown := a.Checker.BeforeOrder(ctx, wish)
	if unknown = errors.Join(err, unknown); unknown != nil {
		a.Log.V(1).Info("cannot look for obstacles; going on", "name", name, "cause", unknown.Error())
	}
	return found
}

// solver makes a Solver that writes records as the Issuer says.
func (a *Answers) solver(ctx context.Context, name string) (*dns.Solver, error) {
	issuer, err := a.Objects.Issuer(ctx, name)
	if err != nil {
		return nil, err
	}
	if issuer == nil || issuer.Spec.DNS == nil || issuer.Spec.DNS.RFC2136 == nil {
		return nil, fmt.Errorf("write DNS records: Issuer %q does not say how", name)
	}
	spec := issuer.Spec.DNS.RFC2136
	provider := &dns.RFC2136{Server: spec.Server, Zone: spec.Zone, Resolver: a.Resolver, Now: a.Now}
	if spec.TSIG != nil {
		if provider.TSIG, err = a.tsig(ctx, spec.TSIG); err != nil {
			return nil, err
		}
	}
	return &dns.Solver{Provider: provider, Resolver: a.Resolver}, nil
}

func (a *Answers) tsig(ctx context.Context, spec *v1alpha1.TSIG) (*dns.TSIG, error) {
	object, err := a.Secrets.Get(ctx, types.NamespacedName{Namespace: a.Namespace, Name: string(spec.SecretName)})
	if err != nil {
		return nil, err
	}
	if object == nil || len(object.Data[SecretKey]) == 0 {
		return nil, fmt.Errorf("write DNS records: there is no Secret %s/%s with %q", a.Namespace, spec.SecretName, SecretKey)
	}
	return &dns.TSIG{Name: spec.KeyName, Algorithm: dns.Algorithm(spec.Algorithm), Secret: secret.New(object.Data[SecretKey])}, nil
}

// SecretKey is the data key under which a Secret that an Issuer names has its
// value.
const SecretKey = "key"
