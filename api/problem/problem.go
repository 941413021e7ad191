// Package problem carries users' mistakes as plain values.
//
// Every Build of Fairway returns Problems beside its result. Problems are not
// errors. An error is a fault of Fairway or the machine, and is retried. A
// Problem is the user's: it affects only the object that it is in, and Fairway
// reports it until the object is fixed. The package knows nothing of events,
// conditions or metrics; it is a leaf that every other package may import.
package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Reason names the kind of mistake in CamelCase, as Kubernetes events and
// conditions do. Reasons are a closed, documented set (docs/problems.md), so
// that they can be metric labels.
type Reason string

// Object is the object with the Problem. Its owner must be told.
type Object struct {
	Kind string // as in its manifest: "Ingress", "Service", …
	Name types.NamespacedName
}

// String is "Ingress shop/cart", or "IngressClass fairway" for an object without
// a namespace.
func (o Object) String() string {
	if o.Name.Namespace == "" {
		return o.Kind + " " + o.Name.Name
	}
	return fmt.Sprintf("%s %s", o.Kind, o.Name)
}

// Problem is one mistake in one object.
type Problem struct {
	Object Object
	Reason Reason
	// Field is the place in the object, in the notation of Kubernetes' own
	// validation ("spec.rules[0].http.paths[2].path"). It is empty for the object
	// as a whole.
	Field string
	// Message is one sentence. It says what is wrong, what happens instead, and
	// what to do unless that is obvious. It never holds a secret.
	Message string
}

// String formats the Problem as one line for a terminal or a log.
func (p Problem) String() string {
	if p.Field == "" {
		return fmt.Sprintf("%s: %s: %s", p.Object, p.Reason, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s: %s", p.Object, p.Field, p.Reason, p.Message)
}

// Compare orders Problems by object, field, reason and message.
func Compare(a, b Problem) int {
	return cmp.Or(
		cmp.Compare(a.Object.Kind, b.Object.Kind),
		cmp.Compare(a.Object.Name.Namespace, b.Object.Name.Namespace),
		cmp.Compare(a.Object.Name.Name, b.Object.Name.Name),
		cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Reason, b.Reason),
		cmp.Compare(a.Message, b.Message),
	)
}

// Sort orders problems by Compare and removes duplicates. It may reuse the
// slice that it is given.
func Sort(problems []Problem) []Problem {
	slices.SortFunc(problems, Compare)
	return slices.Compact(problems)
}

// Shorten bounds a message, in bytes. An ellipsis ends what was cut.
func Shorten(message string, most int) string {
	const ellipsis = "…"
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-len(ellipsis)], "") + ellipsis
}
