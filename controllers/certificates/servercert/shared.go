package servercert

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// SharedSecret is the name of the Secret of an installation's self-signed certificate:
// "fairway-default-certificate".
func SharedSecret(of installation.Name) string { return of.Object("default-certificate") }

const (
	// SharedType is its type. It is not kubernetes.io/tls, so that no Ingress can
	// name it as the certificate of a host.
	SharedType corev1.SecretType = "fairway.dev/default-certificate"

	// sharedLeft is how long the shared certificate must still be valid.
	sharedLeft = 30 * 24 * time.Hour
)

// Shared keeps one certificate for all replicas in a Secret. A client that was
// told to accept a self-signed certificate sees the same one at every replica's
// Envoys, and after a restart. The first replica that finds none makes it; the API
// server prevents a second one.
type Shared struct {
	Live   client.Reader // the API server itself
	Writer client.Writer
	Secret types.NamespacedName
	Make   func() (*certificate.Certificate, error)
	Now    func() time.Time
}

// Certificate returns what the Secret holds, and makes it if need be. It replaces
// a certificate that cannot be used.
func (s Shared) Certificate(ctx context.Context) (*certificate.Certificate, error) {
	for {
		secret, err := secretstore.Cluster{Live: s.Live}.Get(ctx, s.Secret)
		if err != nil {
			return nil, err
		}
		if found := s.usable(secret); found != nil {
			return found, nil
		}
		made, err := s.Make()
		if err != nil {
			return nil, err
		}
		switch err := s.write(ctx, secret, made); {
		case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err) && secret != nil:
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		case err != nil:
			return nil, fmt.Errorf("write secret %s: %w", s.Secret, err)
		default:
			return made, nil
		}
	}
}

// CertificateOrOwn is Certificate, or one that only this replica has if that fails.
func (s Shared) CertificateOrOwn(ctx context.Context, log logr.Logger) (*certificate.Certificate, error) {
	found, err := s.Certificate(ctx)
	if err == nil {
		return found, nil
	}
	log.Info("cannot share the self-signed default certificate: this replica uses one of its own", "cause", err.Error())
	if found, err = s.Make(); err != nil {
		return nil, fmt.Errorf("make a default certificate: %w", err)
	}
	return found, nil
}

// usable returns the certificate in a Secret; nil: none that can be served.
func (s Shared) usable(secret *corev1.Secret) *certificate.Certificate {
	if secret == nil || secret.Type != SharedType {
		return nil
	}
	found, fault := certificate.Parse(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if fault != "" || found.ValidAt(s.Now()) != "" || found.ValidAt(s.Now().Add(sharedLeft)) != "" {
		return nil
	}
	return found
}

// write stores a certificate. It replaces what is there only if that has not
// changed.
func (s Shared) write(ctx context.Context, there *corev1.Secret, made *certificate.Certificate) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Secret.Namespace, Name: s.Secret.Name,
			Labels: map[string]string{"app.kubernetes.io/managed-by": "fairway"},
		},
		Type: SharedType,
		Data: map[string][]byte{corev1.TLSCertKey: made.Chain, corev1.TLSPrivateKeyKey: made.Key.Reveal()},
	}
	if there == nil {
		return s.Writer.Create(ctx, secret)
	}
	if there.Type != SharedType {
		return fmt.Errorf("it is of type %q, which is not ours", there.Type)
	}
	secret.ResourceVersion = there.ResourceVersion
	return s.Writer.Update(ctx, secret)
}
