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

// What every Secret that we make has on it.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "fairway"
	// annotationDirectory is the directory of the authority that issued the
	// certificate.
	annotationDirectory = "fairway.dev/acme-directory"
)

// certificateSecrets reads and writes the Secrets of certificates.
type certificateSecrets struct {
	cache   index.Objects
	secrets secretstore.Store
}

// storedCertificate is the part of a Secret that concerns this package.
type storedCertificate struct {
	there       bool
	foreign     bool   // it exists, and we have not made it
	madeBy      string // the controller of another installation that has
	certificate *certificate.Certificate
	directory   string // of the authority that issued it
}

// read returns what the Secret holds now. It asks the API server where the cache
// may lack it: a cache has no Secrets of other types, and no bytes of Secrets that
// no Ingress named when they came.
func (v certificateSecrets) read(ctx context.Context, key Key) (storedCertificate, error) {
	secret, err := v.cache.Secret(ctx, key)
	if err != nil {
		return storedCertificate{}, err
	}
	if secret == nil || len(secret.Data) == 0 {
		return v.readLive(ctx, key)
	}
	return v.keptIn(ctx, secret)
}

// readLive returns what the store itself has.
func (v certificateSecrets) readLive(ctx context.Context, key Key) (storedCertificate, error) {
	secret, err := v.secrets.Get(ctx, key)
	if err != nil || secret == nil {
		return storedCertificate{}, err
	}
	return v.keptIn(ctx, secret)
}

func (v certificateSecrets) keptIn(ctx context.Context, secret *corev1.Secret) (storedCertificate, error) {
	k := storedCertificate{there: true, foreign: !IsOurs(secret), directory: secret.Annotations[annotationDirectory]}
	if k.foreign {
		return k, nil
	}
	var err error
	if k.madeBy, err = v.otherMaker(ctx, secret); err != nil {
		return storedCertificate{}, err
	}
	if k.foreign = k.madeBy != ""; !k.foreign {
		k.certificate, _ = certificate.Parse(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	}
	return k, nil
}

// otherMaker returns the controller of the installation that keeps the certificate in
// a Secret of Fairway's; empty: we do. It is that of the Issuer, so whoever takes over
// an Issuer takes over its certificates. An Issuer that is gone is nobody's.
func (v certificateSecrets) otherMaker(ctx context.Context, secret *corev1.Secret) (string, error) {
	name := secret.Annotations[route.AnnotationIssuer]
	if name == "" {
		return "", nil
	}
	issuer, err := v.cache.Issuer(ctx, name)
	if err != nil || issuer == nil || v.cache.OwnsIssuer(issuer) {
		return "", err
	}
	return route.Controller(issuer.Spec.Controller).String(), nil
}

// IsOurs reports whether Fairway has made the Secret of a certificate. Such a Secret
// says so and names itself, so a copy in another namespace is none.
func IsOurs(secret *corev1.Secret) bool {
	return secret.Type == corev1.SecretTypeTLS && secret.Labels[labelManagedBy] == managedBy &&
		secret.Annotations[annotationFor] == secret.Namespace+"/"+secret.Name
}

// wanted returns the Secret with a certificate in it.
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

// rehearse tries whether a certificate could be written. That must be known before
// one is ordered.
func (v certificateSecrets) rehearse(ctx context.Context, key Key, issuer, directory string) error {
	// A real, self-signed certificate: the API server parses it.
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
