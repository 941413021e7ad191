package declared

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
)

// Label is on every object that a ConfigMap declares; its value is that of Mark.
// An annotation of the same name has the ConfigMap's namespace/name.
const Label = "fairway.dev/declared-by"

// fieldOwner is our field manager for server-side apply.
const fieldOwner = "fairway-declared"

// Mark is the value of the label on the objects of a ConfigMap: "namespace.name",
// or a beginning of that with a hash if it is longer than a label may be. No two
// ConfigMaps have the same, because the name of a namespace has no dots.
func Mark(configMap types.NamespacedName) string {
	full := configMap.Namespace + "." + configMap.Name
	const most, ofHash = 63, 16
	if len(full) <= most {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	return full[:most-ofHash-1] + "-" + hex.EncodeToString(sum[:])[:ofHash]
}

// step is what to do about an object.
type step int

const (
	leave    step = iota // nothing
	apply                // make it what the manifest says
	remove               // delete it
	conflict             // nothing, because it is somebody else's
)

// decide returns what to do about the object of a key. found is the object as it
// is, nil if there is none.
func decide(d *Declaration, mark string, key Key, found client.Object) step {
	_, wanted := d.Objects[key]
	ours := found != nil && found.GetLabels()[Label] == mark
	switch {
	case found != nil && found.GetDeletionTimestamp() != nil:
		return leave // its end wakes the key
	case wanted && d.NoOwner:
		return leave
	case wanted && (found == nil || ours):
		return apply
	case wanted:
		return conflict
	case ours && !d.Named[key] && !d.Unreadable:
		return remove
	default:
		return leave
	}
}

// nowhere is a resourceVersion that no object has. etcd gives it to the empty
// store.
const nowhere = "1"

// object returns the object to apply. With its version, the API server refuses it
// unless the object still is the one that was found. If none was found, it is
// refused if there is one by now: without that, two controllers that make an
// object of one name at once would both believe that it is theirs.
func (m Manifest) object(configMap types.NamespacedName, owner *metav1.OwnerReference, found client.Object) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(m.Content)}
	object.SetLabels(with(object.GetLabels(), Label, Mark(configMap)))
	object.SetAnnotations(with(object.GetAnnotations(), Label, configMap.String()))
	if owner != nil {
		object.SetOwnerReferences([]metav1.OwnerReference{*owner})
	}
	object.SetResourceVersion(nowhere)
	if found != nil {
		object.SetResourceVersion(found.GetResourceVersion())
	}
	return object
}

func with(all map[string]string, name, value string) map[string]string {
	if all == nil {
		all = map[string]string{}
	}
	all[name] = value
	return all
}

// standing is what an object is known by: if it has not changed, nobody has
// changed what we applied.
type standing struct {
	UID                 types.UID
	Generation          int64 // of its spec
	Labels, Annotations map[string]string
	Owners              []metav1.OwnerReference
}

func standingOf(object client.Object) standing {
	return standing{object.GetUID(), object.GetGeneration(), object.GetLabels(), object.GetAnnotations(), object.GetOwnerReferences()}
}

// verdict is what an error of the API server means for an object.
type verdict int

const (
	failure verdict = iota // it says nothing about the object
	moved                  // the object is no longer the one that was found
	missing                // the cluster does not have the kind
	refused                // it is wrong with the object, or with our rights
)

// judge returns what an error of a write means. The message is the API server's.
func judge(err error) (of verdict, message string) {
	status := apierrors.APIStatus(nil)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return missing, ""
	case apierrors.IsConflict(err):
		return moved, ""
	case !errors.As(err, &status):
		return failure, ""
	}
	switch s := status.Status(); s.Code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusBadGateway:
		return failure, ""
	default: // also 500, which is the answer to an unknown field and to one of the wrong type
		return refused, problem.Shorten(strings.Join(strings.Fields(withoutType(s.Message)), " "), maxMessage)
	}
}

// withoutType leaves out how the API server begins a complaint about a field: it
// repeats the object's name and kind.
func withoutType(message string) string {
	if rest, ok := strings.CutPrefix(message, "failed to create typed patch object ("); ok {
		if _, complaint, ok := strings.Cut(rest, "): "); ok {
			return complaint
		}
	}
	return message
}

// maxMessage bounds what is repeated of an API server's message, in bytes.
const maxMessage = 700

// makerOf says who made an object, and what to do about it.
func makerOf(key Key, object client.Object, configMap types.NamespacedName) string {
	made := "nobody knows who made it"
	if other, ok := object.GetLabels()[Label]; ok {
		if full := object.GetAnnotations()[Label]; full != "" && full != configMap.String() {
			other = full
		}
		return fmt.Sprintf("ConfigMap %s of another installation of Fairway declares it; take it out of one of the two", other)
	}
	if maker := firstManager(object.GetManagedFields()); maker != nil {
		made = maker.Manager + " made it"
		if maker.Time != nil {
			made += " on " + maker.Time.UTC().Format(time.DateOnly)
		}
		if maker.Manager == fieldOwner {
			made = "Fairway made it, but somebody has removed its label " + Label
		}
	}
	return fmt.Sprintf("%s; delete it, take the entry out of the ConfigMap (with Helm: out of the values), or let Fairway have it: "+
		"kubectl label %s.%s %s %s=%s", made, strings.ToLower(key.Kind), "fairway.dev", key.Name, Label, Mark(configMap))
}

// firstManager returns the oldest entry for the object itself, nil if there is
// none. An entry of ours counts as the oldest: we make objects, but change none of
// others.
func firstManager(managed []metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	var first *metav1.ManagedFieldsEntry
	for i := range managed {
		entry := &managed[i]
		switch {
		case entry.Subresource != "":
		case entry.Manager == fieldOwner:
			return entry
		case first == nil, entry.Time != nil && first.Time != nil && entry.Time.Before(first.Time):
			first = entry
		}
	}
	return first
}
