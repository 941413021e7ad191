package overview

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/xds/route"
)

// Issuer is an Issuer from which certificates are ordered.
type Issuer struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Why     string `json:"why,omitempty"` // why it is not ready
	Issued  int32  `json:"issued"`
	Pending int32  `json:"pending"`
	Failing int32  `json:"failing"`
}

// Certificate is the state of a certificate that is asked from an Issuer.
type Certificate struct {
	Namespace string     `json:"namespace"`
	Secret    string     `json:"secret"`
	Issuer    string     `json:"issuer"`
	Names     []string   `json:"names"`
	State     string     `json:"state"` // Issued, Renewing, Pending or Failing
	Why       string     `json:"why,omitempty"`
	Next      *time.Time `json:"next,omitempty"` // when it is tried again, or renewed
	Expires   *time.Time `json:"expires,omitempty"`
}

// certificates adds what the Issuers report: their state, and the certificates
// that their status lists.
func (o *Overview) certificates(ctx context.Context, reader snapshot.Reader, served []route.Controller) error {
	issuers, err := reader.Issuers(ctx)
	if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
		o.Unknown = append(o.Unknown, "which certificates are ordered: "+forbidden.Error())
		return nil
	}
	if err != nil {
		return err
	}
	for _, object := range issuers {
		issuer, ok := object.(*v1alpha1.Issuer)
		if ok && slices.ContainsFunc(served, func(each route.Controller) bool { return each.OwnsIssuer(issuer.Spec.Controller) }) {
			o.Issuers = append(o.Issuers, issuerOf(issuer))
			for _, state := range issuer.Status.Orders {
				o.Certificates = append(o.Certificates, certificateOf(issuer.Name, state))
			}
		}
	}
	slices.SortFunc(o.Issuers, func(a, b Issuer) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(o.Certificates, func(a, b Certificate) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Secret, b.Secret))
	})
	return nil
}

func issuerOf(from *v1alpha1.Issuer) Issuer {
	issuer := Issuer{Name: from.Name, Why: "the controllers have not looked at it yet"}
	if ready := meta.FindStatusCondition(from.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		issuer.Ready, issuer.Why = ready.Status == metav1.ConditionTrue, ready.Reason+": "+ready.Message
	}
	if issuer.Ready {
		issuer.Why = ""
	}
	if counts := from.Status.Certificates; counts != nil {
		issuer.Issued, issuer.Pending, issuer.Failing = counts.Issued, counts.Pending, counts.Failing
	}
	return issuer
}

func certificateOf(issuer string, from v1alpha1.CertificateState) Certificate {
	c := Certificate{
		Namespace: from.Namespace, Secret: from.SecretName, Issuer: issuer, Names: append([]string{}, from.Names...),
		State: from.State, Why: from.Message,
	}
	if from.Next != nil {
		c.Next = new(from.Next.UTC())
	}
	if from.NotAfter != nil {
		c.Expires = new(from.NotAfter.UTC())
	}
	return c
}

// needsPerson reports whether a person should look at the certificates.
func (o *Overview) needsPerson() bool {
	return slices.ContainsFunc(o.Issuers, func(i Issuer) bool { return !i.Ready || i.Failing > 0 })
}

// addCertificates adds the Issuers and certificates as rows of the table.
func (o *Overview) addCertificates(row func(cells ...string)) {
	if len(o.Issuers) == 0 {
		return
	}
	row()
	row("ISSUER", "READY", "ISSUED", "PENDING", "FAILING")
	for _, i := range o.Issuers {
		row(i.Name, yesOrNo(i.Ready), number(i.Issued), number(i.Pending), number(i.Failing))
	}
	if len(o.Certificates) == 0 {
		return
	}
	row()
	row("CERTIFICATE", "STATE", "ISSUER", "EXPIRES", "NEXT", "NAMES")
	for _, c := range o.Certificates {
		row(c.Namespace+"/"+c.Secret, c.State, c.Issuer, day(c.Expires), moment(c.Next), orNone(short(c.Names)))
	}
}

// whysOfCertificates says a line for each Issuer or certificate that is not as it
// should be.
func (o *Overview) whysOfCertificates(say func(format string, args ...any)) {
	for _, i := range o.Issuers {
		if i.Why != "" {
			say("issuer %s: %s\n", i.Name, wording.Printable(i.Why, '\t'))
		}
	}
	for _, c := range o.Certificates {
		if c.Why != "" && c.State != v1alpha1.CertificateIssued {
			say("certificate %s/%s: %s: %s\n", c.Namespace, c.Secret, c.State, wording.Printable(c.Why, '\t'))
		}
	}
}
