// Package identity keeps the certificates by which controllers and gateways prove
// what they are, in Secrets of the controllers' own namespace. The leader writes
// the Secrets; every replica reads its own certificate from there.
//
// It does not decide what is good or when it is renewed (xds/identity), and does
// not know how Envoys connect. Its invariant: an authority signs nothing before
// the API server has stored it. So two replicas that both believe to lead never
// hand out certificates that the other does not trust.
package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// Label is on all Secrets of this package; its value is for people.
	Label = "fairway.dev/identity"
	// Type is the type of these Secrets. It is not kubernetes.io/tls, so that no
	// Ingress can name one as the certificate of a host.
	Type corev1.SecretType = "fairway.dev/identity"

	gatewayAnnotation = "fairway.dev/gateway"

	caFile, certificateFile, keyFile = "ca.crt", corev1.TLSCertKey, corev1.TLSPrivateKeyKey

	// A pass that failed is made again after firstRetry, then after twice that, up
	// to lastRetry.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Selector selects the Secrets of an installation.
func Selector(of installation.Name) (labels.Selector, error) {
	return labels.Parse(Label + "," + of.Selector())
}

// Renewer keeps the Secrets up to date. It is a task of the leader.
type Renewer struct {
	Secrets      client.Reader // a cache of those of Selector in Namespace
	Live         client.Reader // the API server itself
	Writer       client.Writer
	Installation installation.Name
	Namespace    string
	// Gateways returns all gateways.
	Gateways func(context.Context) ([]route.Gateway, error)
	Policy   identity.Policy
	Now      func() time.Time
	// Wake gets a value when something may have changed. It holds one value.
	Wake chan struct{}
	Log  logr.Logger
}

// Poke makes Run look again.
func (k *Renewer) Poke() {
	select {
	case k.Wake <- struct{}{}:
	default:
	}
}

// Run keeps the Secrets until ctx ends.
func (k *Renewer) Run(ctx context.Context) error {
	retry := firstRetry
	for ctx.Err() == nil {
		wait := k.Policy.Recheck()
		if err := k.Reconcile(ctx); err == nil {
			retry = firstRetry
		} else if ctx.Err() == nil {
			k.complain(err)
			wait, retry = retry, min(2*retry, lastRetry)
		}
		select {
		case <-ctx.Done():
		case <-k.Wake:
		case <-time.After(wait):
		}
	}
	return nil
}

// complain logs what a person should look at. That somebody else wrote first is no
// such thing.
func (k *Renewer) complain(err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		k.Log.V(1).Info("a Secret was written by somebody else meanwhile; trying again", "cause", err.Error())
		return
	}
	k.Log.Error(err, "cannot keep the certificates of controllers and gateways; trying again")
}

// secret is one Secret: its subject, and what it holds.
type secret struct {
	name    string
	label   string
	gateway route.Gateway // empty: not of a gateway
	subject identity.Subject
	object  *corev1.Secret // nil: it does not exist
	files   identity.Files
}

// Reconcile makes one pass over all Secrets. If one cannot be written, the others
// still are.
func (k *Renewer) Reconcile(ctx context.Context) error {
	gateways, err := k.Gateways(ctx)
	if err != nil {
		return fmt.Errorf("list gateways: %w", err)
	}
	authority := &secret{name: identity.AuthoritySecret(k.Installation), label: "authority"}
	controllers := &secret{
		name: identity.ControllerSecret(k.Installation), label: "controller", subject: identity.Controllers(k.Installation, k.Namespace),
	}
	if err := errors.Join(k.read(ctx, authority), k.read(ctx, controllers)); err != nil {
		return err
	}
	users := []*secret{controllers}
	var failed []error
	for _, gateway := range gateways {
		s := &secret{
			name: identity.SecretOf(k.Installation, gateway), label: "gateway", gateway: gateway, subject: identity.Gateway(gateway),
		}
		switch err := k.read(ctx, s); {
		case errors.Is(err, errTaken):
			failed = append(failed, err) // the others still have theirs
		case err != nil:
			return err
		default:
			users = append(users, s)
		}
	}
	by, err := k.succeed(ctx, authority, users)
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	for _, s := range users {
		failed = append(failed, k.renew(ctx, s, by))
	}
	return errors.Join(append(failed, k.forget(ctx, users))...)
}

// read reads what exists. A Secret that the cache lacks may only have lost its
// label.
func (k *Renewer) read(ctx context.Context, s *secret) error {
	name := client.ObjectKey{Namespace: k.Namespace, Name: s.name}
	found := &corev1.Secret{}
	err := k.Secrets.Get(ctx, name, found)
	if apierrors.IsNotFound(err) {
		err = k.Live.Get(ctx, name, found)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("get secret %s: %w", s.name, err)
	}
	if other := found.Labels[installation.Label]; other != "" && !k.Installation.Owns(found.Labels) {
		return fmt.Errorf("use secret %s: %w, %q: give one of the two another --installation", s.name, errTaken, other)
	}
	s.object, s.files = found, filesOf(found)
	return nil
}

// errTaken is of a Secret that another installation has made under a name of ours.
var errTaken = errors.New("it belongs to another installation")

// filesOf returns what a Secret holds.
func filesOf(s *corev1.Secret) identity.Files {
	return identity.Files{CA: s.Data[caFile], Certificate: s.Data[certificateFile], Key: s.Data[keyFile]}
}

// succeed brings the authorities up to date, and returns them once they are
// stored.
func (k *Renewer) succeed(ctx context.Context, authority *secret, users []*secret) (identity.Authorities, error) {
	var gateways []identity.Files
	for _, s := range users[1:] {
		gateways = append(gateways, s.files)
	}
	next, reason, err := k.Policy.Succeed(authority.files, users[0].files, gateways, k.Now())
	if err != nil {
		return next, err
	}
	files, err := next.Files()
	if err != nil {
		return next, err
	}
	return next, k.write(ctx, authority, files, reason)
}

// renew brings one certificate up to date.
func (k *Renewer) renew(ctx context.Context, s *secret, by identity.Authorities) error {
	next, reason, err := k.Policy.Renew(s.files, s.subject, by, k.Now())
	if err != nil {
		return fmt.Errorf("renew %s: %w", s.name, err)
	}
	return k.write(ctx, s, next, reason)
}

// write stores the files if there is a reason to.
func (k *Renewer) write(ctx context.Context, s *secret, files identity.Files, reason string) error {
	wanted := k.wanted(s, files)
	if reason == "" && !s.marked(wanted) {
		reason = "its label or annotation is not ours"
	}
	if reason == "" {
		return nil
	}
	if err := k.store(ctx, s, wanted); err != nil {
		return fmt.Errorf("write secret %s: %w", s.name, err)
	}
	k.Log.Info("certificate renewed", "secret", k.Namespace+"/"+s.name, "reason", reason)
	return nil
}

// marked reports whether the stored Secret has the right type, labels and
// annotation.
func (s *secret) marked(wanted *corev1.Secret) bool {
	return s.object != nil && s.object.Type == Type && labels.SelectorFromSet(wanted.Labels).Matches(labels.Set(s.object.Labels)) &&
		s.object.Annotations[gatewayAnnotation] == wanted.Annotations[gatewayAnnotation]
}

func (k *Renewer) wanted(s *secret, files identity.Files) *corev1.Secret {
	wanted := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: s.name, Labels: k.Installation.Labels(map[string]string{Label: s.label})},
		Type:       Type,
		Data:       map[string][]byte{caFile: files.CA, certificateFile: files.Certificate, keyFile: files.Key},
	}
	if s.gateway != "" {
		wanted.Annotations = map[string]string{gatewayAnnotation: string(s.gateway)}
	}
	return wanted
}

// store writes only over the version that was read: the first writer wins. It
// replaces a Secret that cannot be changed.
func (k *Renewer) store(ctx context.Context, s *secret, wanted *corev1.Secret) error {
	if s.object == nil {
		return k.Writer.Create(ctx, wanted)
	}
	if s.object.Type != Type || (s.object.Immutable != nil && *s.object.Immutable) {
		if err := k.delete(ctx, s.object); err != nil {
			return err
		}
		return k.Writer.Create(ctx, wanted)
	}
	changed := s.object.DeepCopy()
	changed.Data = wanted.Data
	for name, value := range wanted.Labels {
		metav1.SetMetaDataLabel(&changed.ObjectMeta, name, value)
	}
	for name, value := range wanted.Annotations {
		metav1.SetMetaDataAnnotation(&changed.ObjectMeta, name, value)
	}
	return k.Writer.Update(ctx, changed)
}

func (k *Renewer) delete(ctx context.Context, object *corev1.Secret) error {
	return client.IgnoreNotFound(k.Writer.Delete(ctx, object, client.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion}))
}

// forget deletes the Secrets of gateways that are gone. It waits until their
// certificates have expired, because a class may come back.
func (k *Renewer) forget(ctx context.Context, users []*secret) error {
	var all corev1.SecretList
	if err := k.Secrets.List(ctx, &all, client.InNamespace(k.Namespace), client.MatchingLabels{Label: "gateway"}); err != nil {
		return fmt.Errorf("list secrets: %w", err)
	}
	wanted := map[string]bool{}
	for _, s := range users {
		wanted[s.name] = true
	}
	var failed []error
	for i := range all.Items {
		object := &all.Items[i]
		if wanted[object.Name] || !k.Installation.Owns(object.Labels) || object.Type != Type || !identity.Expired(filesOf(object), k.Now()) {
			continue
		}
		if err := k.delete(ctx, object); err != nil {
			failed = append(failed, fmt.Errorf("delete secret %s: %w", object.Name, err))
			continue
		}
		k.Log.Info("certificate of a gateway that is gone deleted", "secret", k.Namespace+"/"+object.Name)
	}
	return errors.Join(failed...)
}
