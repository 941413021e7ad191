package servercert

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// Preview is what is served under a name as the objects stand, for who asks.
type Preview struct {
	// Found is the certificate that is served, or one for each kind of key.
	Found []Found
	// Unread are the Secrets that could come before, or be it, and that nobody
	// has looked into, best first.
	Unread []types.NamespacedName
	// Asked says that some Ingress wants the name over TLS.
	Asked    bool
	Problems []problem.Problem
}

// Found is a certificate and the Secret that it is in.
type Found struct {
	Secret types.NamespacedName
	*certificate.Certificate
}

// Look says what is served under key by who has served nothing before. It
// publishes and reports nothing.
func (r *Reconciler) Look(ctx context.Context, key Key) (Preview, error) {
	found, err := r.find(ctx, key)
	if err != nil {
		return Preview{}, fmt.Errorf("gather %s: %w", key, err)
	}
	looked := Preview{Unread: found.unread, Asked: found.asked, Problems: found.problems}
	for s := &found.served; s != nil && s.Certificate != nil; s = s.other {
		looked.Found = append(looked.Found, Found{s.secret, s.Certificate})
	}
	return looked, nil
}
