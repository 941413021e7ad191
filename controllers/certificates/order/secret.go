package order

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// What is on every Secret that we make.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "fairway"
	// annotationDirectory is the directory of the authority that has issued.
	annotationDirectory = "fairway.dev/acme-directory"
)

// certificateSecrets reads and writes the Secrets of certificates.
type certificateSecrets struct {
	cache   index.Objects
	secrets secretstore.Store
}

// storedCertificate is what is in a Secret, as far as it concerns us.
type storedCertificate struct {
	there       bool
	foreign     bool // there, and not made by us
	certificate *certificate.Certificate
	directory   string // of the authority that has issued it
}

// read is what is there now. A cache has no Secrets of other types, and no bytes
// of those that nobody named when they came.
func (v certificateSecrets) read(ctx context.Context, key Key) (storedCertificate, error) {
	secret, err := v.cache.Secret(ctx, key)
	if err != nil {
		return storedCertificate{}, err
	}
	if secret == nil || len(secret.Data) == 0 {
		return v.readLive(ctx, key)
	}
	return keptIn(secret), nil
}

// readLive is what is there by who keeps it.
func (v certificateSecrets) readLive(ctx context.Context, key Key) (storedCertificate, error) {
	secret, err := v.secrets.Get(ctx, key)
	if err != nil || secret == nil {
		return storedCertificate{}, err
	}
	return keptIn(secret), nil
}

func keptIn(secret *corev1.Secret) storedCertificate {
	k := storedCertificate{there: true, foreign: !IsOurs(secret), directory: secret.Annotations[annotationDirectory]}
	if !k.foreign {
		k.certificate, _ = certificate.Parse(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	}
	return k
}

// IsOurs reports whether we have made the Secret of a certificate: it says so,
// and of itself, so that a copy in another namespace is somebody else's.
func IsOurs(secret *corev1.Secret) bool {
	return secret.Type == corev1.SecretTypeTLS && secret.Labels[labelManagedBy] == managedBy &&
		secret.Annotations[annotationFor] == secret.Namespace+"/"+secret.Name
}

// wanted is the Secret with a certificate in it.
func wanted(key Key, issuer, directory string, c *certificate.Certificate) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{labelManagedBy: managedBy},
			Annotations: map[string]string{
				annotationFor: key.String(), annotationDirectory: directory, route.AnnotationIssuer: issuer,
			},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: c.Chain, corev1.TLSPrivateKeyKey: c.Key.Reveal()},
	}
}

// rehearse says whether a certificate could be written, before one is ordered
// that nobody can have.
func (v certificateSecrets) rehearse(ctx context.Context, key Key, issuer, directory string) error {
	// A real certificate, though nobody's: the API server reads it.
	nobodys, err := certificate.SelfSigned(time.Now(), rand.Reader)
	if err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	dry := wanted(key, issuer, directory, nobodys)
	if err := v.secrets.Apply(ctx, dry, true); err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	return nil
}

// write puts a certificate into its Secret.
func (v certificateSecrets) write(ctx context.Context, key Key, issuer, directory string, c *certificate.Certificate) error {
	return v.secrets.Apply(ctx, wanted(key, issuer, directory, c), false)
}
