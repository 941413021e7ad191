// Package problem is how users' mistakes travel: as plain values.
//
// Every Build of Fairway returns Problems beside what it built. They are not
// errors: an error is ours (or the machine's) and is retried, a Problem is the
// user's, costs only the object it stands in, and is reported until the object
// is mended. The package knows nothing of events, conditions or metrics; it is
// a leaf that every other package may import.
package problem

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Reason names the kind of mistake in CamelCase, as Kubernetes events and
// conditions do. Reasons are a closed, documented set (docs/problems.md), so
// that they can be metric labels.
type Reason string

// Object is the object that a Problem stands in and whose owner must hear of
// it.
type Object struct {
	Kind string // as in its manifest: "Ingress", "Service", …
	Name types.NamespacedName
}

// String is "Ingress shop/cart", or "IngressClass fairway" for what has no
// namespace.
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
	// Field is where in the object the mistake stands, in the notation of
	// Kubernetes' own validation ("spec.rules[0].http.paths[2].path"); empty
	// when the object as a whole is meant.
	Field string
	// Message is one sentence that says what is wrong, what happens instead,
	// and where it is not obvious, what to do. It never holds a secret.
	Message string
}

// String is one line for a terminal or a log.
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
