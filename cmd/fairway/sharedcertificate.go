package main

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/cmd/internal/flagvalue"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	tlscertificate "github.com/fairwaynet/fairway/tls/certificate"
)

// servedCertificates are the settings of what is served over TLS.
func (c *controllerSettings) servedCertificates(
	ctx context.Context, mgr manager.Manager, registry prometheus.Registerer, log logr.Logger,
) (servercert.Options, error) {
	made, err := c.sharedCertificate(ctx, mgr, log)
	if err != nil {
		return servercert.Options{}, err
	}
	return c.certificates(log, registry, made)
}

// sharedCertificate is the self-signed certificate that all replicas serve by
// default, before and after a restart. If it cannot be stored, this replica uses
// one of its own.
func (c *controllerSettings) sharedCertificate(ctx context.Context, mgr manager.Manager, log logr.Logger) (*tlscertificate.Certificate, error) {
	if c.DefaultCertificate != (flagvalue.Name{}) {
		return selfSigned() // in case the configured Secret does not exist
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	shared := servercert.Shared{
		Live: mgr.GetAPIReader(), Writer: mgr.GetClient(),
		Secret: types.NamespacedName{Namespace: c.Replica.Namespace, Name: servercert.SharedSecret(c.Replica.Installation)},
		Make:   selfSigned, Now: time.Now,
	}
	return shared.CertificateOrOwn(ctx, log)
}
