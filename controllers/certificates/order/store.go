package order

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/acme"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// orderKey is the data key of the order in its Secret.
	orderKey = "order.json"
	// annotationFor names the Secret for whose certificate an order is:
	// "namespace/name".
	annotationFor = "fairway.dev/secret"
)

// orders keeps the orders that are under way, a Secret for each.
type orders struct {
	secrets      secretstore.Store
	installation installation.Name
	namespace    string
}

// storedOrder is an order as it was last saved.
type storedOrder struct {
	acme.Order

	object *corev1.Secret // nil: it was never saved
}

// name returns the name of the Secret of the order for key. It begins with the
// installation's name: another one may order a certificate of the same name.
func (o orders) name(key Key) string {
	sum := sha256.Sum256([]byte(key.String()))
	return o.installation.Object("order-" + hex.EncodeToString(sum[:10]))
}

// load returns the order for key, nil if there is none. An order that cannot be
// read is an error: beginning another would mean to order twice.
func (o orders) load(ctx context.Context, key Key) (*storedOrder, error) {
	object, err := o.secrets.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name(key)})
	if err != nil || object == nil {
		return nil, err
	}
	if !o.installation.Owns(object.Labels) {
		return nil, fmt.Errorf("read order of %s: secret %s/%s belongs to installation %q", key, object.Namespace, object.Name, installation.Of(object.Labels))
	}
	if object.Type != challenge.SecretType {
		return nil, fmt.Errorf("read order of %s: secret %s/%s is of type %q", key, object.Namespace, object.Name, object.Type)
	}
	order, err := acme.Restore(object.Data[orderKey])
	if err != nil {
		return nil, fmt.Errorf("read order of %s from secret %s/%s: %w", key, object.Namespace, object.Name, err)
	}
	return &storedOrder{order, object}, nil
}

// issuer returns the Issuer that it was ordered from.
func (s *storedOrder) issuer() string { return s.object.Annotations[route.AnnotationIssuer] }

// save stores the order, and the answers to its challenges, over the version that
// was loaded. If another replica has continued it, that is a conflict.
func (o orders) save(ctx context.Context, key Key, issuer string, s *storedOrder, challenges []challenge.Challenge) error {
	text, err := s.Save()
	if err != nil {
		return fmt.Errorf("save order of %s: %w", key, err)
	}
	answers, err := challenge.Encode(challenges)
	if err != nil {
		return fmt.Errorf("save order of %s: %w", key, err)
	}
	data := map[string][]byte{orderKey: text.Reveal(), challenge.SecretKey: answers}
	if s.object == nil {
		object := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: o.namespace, Name: o.name(key),
				Labels:      o.installation.Labels(map[string]string{challenge.SecretLabel: "true", labelManagedBy: managedBy}),
				Annotations: map[string]string{annotationFor: key.String(), route.AnnotationIssuer: issuer},
			},
			Type: challenge.SecretType, Data: data,
		}
		if err := o.secrets.Create(ctx, object); err != nil {
			return fmt.Errorf("save order of %s: %w", key, err)
		}
		s.object = object
		return nil
	}
	if maps.EqualFunc(s.object.Data, data, bytes.Equal) && s.issuer() == issuer {
		return nil
	}
	object := s.object.DeepCopy()
	object.Data = data
	metav1.SetMetaDataAnnotation(&object.ObjectMeta, route.AnnotationIssuer, issuer)
	if err := o.secrets.Update(ctx, object); err != nil {
		return fmt.Errorf("save order of %s: %w", key, err)
	}
	s.object = object
	return nil
}

// remove deletes the order.
func (o orders) remove(ctx context.Context, key Key, s *storedOrder) error {
	if s == nil || s.object == nil {
		return nil
	}
	if err := o.secrets.Delete(ctx, s.object); err != nil {
		return fmt.Errorf("remove order of %s: %w", key, err)
	}
	return nil
}

// list returns the keys of all orders of this installation.
func (o orders) list(ctx context.Context) ([]Key, error) {
	objects, err := o.secrets.List(ctx, o.namespace, challenge.SecretLabel)
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	var keys []Key
	for i := range objects {
		namespace, name, ok := strings.Cut(objects[i].Annotations[annotationFor], "/")
		if key := (Key{Namespace: namespace, Name: name}); ok && o.name(key) == objects[i].Name && o.installation.Owns(objects[i].Labels) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
