package issuer

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
)

// maxMessage bounds the length of a condition's message.
const maxMessage = 4096

// write brings the status up to date, but not too often. again is when to come
// back for what it has not written.
func (r *Reconciler) write(ctx context.Context, issuer *v1alpha1.Issuer, s *issuerState) (again time.Duration, err error) {
	now := r.Now()
	if since := now.Sub(s.wrote); since >= 0 && since < leastWrite {
		return leastWrite - since, nil
	}
	status := r.status(issuer, s, now)
	if equality.Semantic.DeepEqual(status, s.status) {
		return recheck, nil
	}
	if err := r.Statuses.Write(ctx, issuer, status); err != nil {
		return 0, err
	}
	s.status, s.wrote = status, now
	return recheck, nil
}

// status returns the status of the Issuer.
func (r *Reconciler) status(issuer *v1alpha1.Issuer, s *issuerState, now time.Time) v1alpha1.IssuerStatus {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: s.reason,
		Message: problem.Shorten(s.message, maxMessage), ObservedGeneration: issuer.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if s.reason == v1alpha1.ReasonRegistered {
		ready.Status = metav1.ConditionTrue
	}
	conditions := append([]metav1.Condition(nil), issuer.Status.Conditions...)
	meta.SetStatusCondition(&conditions, ready) // it keeps the time of the transition
	status := v1alpha1.IssuerStatus{Account: s.account.URL}
	if written := meta.FindStatusCondition(conditions, ready.Type); written != nil {
		status.Conditions = []metav1.Condition{*written}
	}
	counts, orders, ok := r.States.Of(issuer.Name)
	if !ok { // what the last leader wrote stays until we know
		counts, orders = v1alpha1.CertificateCounts{}, issuer.Status.Orders
		if issuer.Status.Certificates != nil {
			counts = *issuer.Status.Certificates
		}
	}
	status.Certificates, status.Orders = &counts, orders
	return status
}

// Cluster writes the status of Issuers in a cluster.
type Cluster struct {
	Writer  client.StatusClient
	Manager fieldmanager.Status // by which we own what we write
}

var _ Statuses = Cluster{}

// Write implements Statuses, by server-side apply.
func (c Cluster) Write(ctx context.Context, issuer *v1alpha1.Issuer, status v1alpha1.IssuerStatus) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return fmt.Errorf("write status of issuer %s: %w", issuer.Name, err)
	}
	return c.apply(ctx, issuer, map[string]any{"status": content})
}

// Withdraw implements Statuses.
func (c Cluster) Withdraw(ctx context.Context, issuer *v1alpha1.Issuer) error {
	if !c.Manager.Owns(issuer) {
		return nil
	}
	return c.apply(ctx, issuer, map[string]any{}) // with a status we would own something, even if that is empty
}

func (c Cluster) apply(ctx context.Context, issuer *v1alpha1.Issuer, content map[string]any) error {
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion().WithKind("Issuer"))
	object.SetName(issuer.Name)
	err := c.Writer.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
		client.FieldOwner(string(c.Manager)), client.ForceOwnership)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status of issuer %s: %w", issuer.Name, err)
	}
	return nil
}

// Nowhere discards the status of Issuers from files. Their errors become Problems.
type Nowhere struct{}

var _ Statuses = Nowhere{}

// Write implements Statuses.
func (Nowhere) Write(context.Context, *v1alpha1.Issuer, v1alpha1.IssuerStatus) error { return nil }

// Withdraw implements Statuses.
func (Nowhere) Withdraw(context.Context, *v1alpha1.Issuer) error { return nil }
