package servercert

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// Preview is what would be served under a name as the objects stand.
type Preview struct {
	// Found is the certificate that is served, or one for each kind of key.
	Found []Found
	// Unread are Secrets that nobody has read and that could take precedence or be
	// the one in use, best first.
	Unread []types.NamespacedName
	// Asked says that some Ingress wants the name over TLS.
	Asked    bool
	Problems []problem.Problem
}

// Found is a certificate and the Secret that holds it.
type Found struct {
	Secret types.NamespacedName
	*certificate.Certificate
}

// Look returns what a process that has served nothing before would serve under
// key. It publishes and reports nothing.
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
