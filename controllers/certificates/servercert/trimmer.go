package servercert

import (
	"context"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Trimmer takes the bytes out of Secrets before a cache keeps them, unless an
// Ingress of ours names them. A cluster has many more Secrets than are served;
// bytes that are not kept can neither leak nor fill memory. A Secret that is named
// later is read by name. The zero value takes all bytes.
type Trimmer struct {
	objects atomic.Pointer[index.Objects]
}

// Use says where to look for Ingresses.
func (t *Trimmer) Use(objects index.Objects) { t.objects.Store(&objects) }

// Trim is a cache's transform function for Secrets.
func (t *Trimmer) Trim(object any) (any, error) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return object, nil // the notice of an event that the stream missed: as it is
	}
	trimmed := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: secret.Namespace, Name: secret.Name,
			UID: secret.UID, ResourceVersion: secret.ResourceVersion,
			Labels: only(secret.Labels, keptLabels()), Annotations: only(secret.Annotations, keptAnnotations()),
		},
		Type: secret.Type,
	}
	name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
	for _, key := range t.keysOf(name) {
		if value, there := secret.Data[key]; there {
			if trimmed.Data == nil {
				trimmed.Data = map[string][]byte{}
			}
			trimmed.Data[key] = value
		}
	}
	return trimmed, nil
}

// keptLabels and keptAnnotations say who made a Secret.
func keptLabels() []string { return []string{"app.kubernetes.io/managed-by"} }
func keptAnnotations() []string {
	return []string{"fairway.dev/secret", "fairway.dev/acme-directory", route.AnnotationIssuer}
}

func only(all map[string]string, names []string) map[string]string {
	var kept map[string]string
	for _, name := range names {
		if value, ok := all[name]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[name] = value
		}
	}
	return kept
}

// keysOf returns the data keys that Ingresses of ours want of the Secret. It
// ignores errors: the next reader of the Ingresses meets and handles them.
func (t *Trimmer) keysOf(name types.NamespacedName) []string {
	objects := t.objects.Load()
	if objects == nil {
		return nil
	}
	ctx := context.Background()
	ingresses, err := objects.IngressesOfSecret(ctx, name)
	if err != nil || len(ingresses) == 0 {
		return nil
	}
	classes, err := objects.Classes(ctx)
	if err != nil {
		return nil
	}
	var keys []string
	for _, ingress := range ingresses {
		if _, ours := classes.Gateway(ingress); !ours {
			continue
		}
		if len(route.TLSNamesBySecret(ingress, name.Name)) > 0 {
			keys = append(keys, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
		}
		if ca, named := route.ClientCAOf(ingress); named && ca == name {
			keys = append(keys, route.CAKey)
		}
	}
	return keys
}
