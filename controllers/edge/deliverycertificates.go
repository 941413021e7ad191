package edge

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

// CertificateNotServed is the reason of the Problem on Ingresses whose certificate
// a gateway was sent but does not serve: its clients get another certificate or
// none.
const CertificateNotServed problem.Reason = "CertificateNotServed"

// The keys under which Delivery reports the fate of a certificate.
type (
	rejectedKey struct{ key route.Key }
	unprovedKey struct{ key route.Key }
)

// CertificateRejected implements server.Observer.
func (d *Delivery) CertificateRejected(key route.Key, detail string) {
	if detail == "" {
		d.Reporter.Report(context.Background(), rejectedKey{key}, nil)
		return
	}
	d.Metrics.rejected(rejectedCertificate)
	d.Log.Error(nil, "envoy refused a certificate; the last good one stays", "gateway", key.Gateway, "host", key.Host, "detail", detail)
	d.blameCertificate(rejectedKey{key}, key, RejectedByEnvoy, fmt.Sprintf(
		"Envoy refused the certificate of %q; what was good before goes on being served, or else the default certificate. "+
			"This is a bug of Fairway's, please report it. Envoy says: %s", key.Host, detail))
}

// CertificateNotServed implements server.Observer.
func (d *Delivery) CertificateNotServed(key route.Key, detail string) {
	if detail == "" {
		d.Log.Info("clients get the certificate that they should", "gateway", key.Gateway, "host", key.Host)
		d.Reporter.Report(context.Background(), unprovedKey{key}, nil)
		return
	}
	d.Log.Error(nil, "clients do not get the certificate that they should", "gateway", key.Gateway, "host", key.Host, "detail", detail)
	d.blameCertificate(unprovedKey{key}, key, CertificateNotServed, fmt.Sprintf(
		"a gateway does not serve the certificate of %q that it was sent: %s", key.Host, detail))
}

// blameCertificate reports a Problem on the objects that asked for the
// certificate: the Ingresses that want the name over TLS, or the Secret of the
// default certificate.
func (d *Delivery) blameCertificate(as any, key route.Key, reason problem.Reason, message string) {
	ctx := context.Background()
	objects, err := d.askersOf(ctx, key)
	if err != nil {
		d.Log.Error(err, "cannot tell whose certificate it is", "gateway", key.Gateway, "host", key.Host)
		return
	}
	var problems []problem.Problem
	for _, object := range objects {
		problems = append(problems, problem.Problem{Object: object, Reason: reason, Message: message})
	}
	d.Reporter.Report(ctx, as, problems)
}

// askersOf returns the objects that ask for the certificate of a name.
func (d *Delivery) askersOf(ctx context.Context, key route.Key) ([]problem.Object, error) {
	var askers []problem.Object
	if key.Gateway != "" {
		classes, err := d.Objects.Classes(ctx)
		if err != nil {
			return nil, err
		}
		ingresses, err := d.Objects.IngressesOfTLS(ctx, key.Host)
		if err != nil {
			return nil, err
		}
		for _, i := range ingresses {
			if gateway, ours := classes.Gateway(i); ours && gateway == key.Gateway {
				askers = append(askers, problem.Object{Kind: "Ingress", Name: types.NamespacedName{Namespace: i.Namespace, Name: i.Name}})
			}
		}
	}
	if len(askers) == 0 && key.Host == route.AnyHost && d.DefaultCertificate != (types.NamespacedName{}) {
		askers = append(askers, problem.Object{Kind: "Secret", Name: d.DefaultCertificate})
	}
	return askers, nil
}
