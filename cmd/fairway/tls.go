package main

import (
	"crypto/rand"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/cmd/internal/flagvalue"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	tlscertificate "github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// bindTLS declares the flags for HTTPS.
func bindTLS(flags *pflag.FlagSet, r *route.Settings, defaultCertificate *flagvalue.Name) {
	flags.Var((*flagvalue.OptionalPort)(&r.HTTPSPort), "https-port", "`port` to serve HTTPS on; 0: none")
	flags.Var(defaultCertificate, "default-certificate", "`namespace/name` of the Secret to serve for hosts without a certificate; by default a self-signed certificate")
}

// selfSigned makes a self-signed certificate without a host name.
func selfSigned() (*tlscertificate.Certificate, error) {
	return tlscertificate.SelfSigned(time.Now(), rand.Reader)
}

// systemRoots are the certificates, in PEM, that this machine trusts. They verify
// backends whose Services say "system".
func systemRoots(log logr.Logger) []byte {
	return tlscertificate.SystemAuthorities(os.Getenv, func(file, fault string) {
		log.Info("the system's certificates cannot be used", "file", file, "fault", fault)
	})
}

// certificates are the options for hosts without a certificate of their own. The
// default is made, unless a Secret is configured.
func (s *settings) certificates(log logr.Logger, registry prometheus.Registerer, made *tlscertificate.Certificate) (servercert.Options, error) {
	if s.DefaultCertificate == (flagvalue.Name{}) && s.Route.HTTPSPort != 0 {
		log.Info("no default certificate is configured: hosts without a certificate get a self-signed one")
	}
	metrics := servercert.NewMetrics()
	return servercert.Options{
		Default: types.NamespacedName(s.DefaultCertificate), SelfSigned: made, Metrics: metrics,
	}, registry.Register(metrics)
}
