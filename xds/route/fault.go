package route

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/problem"
)

// fault is a mistake in a part of an object. It becomes a Problem once the field of
// that part is known.
type fault struct {
	field   string // below the part, may be empty
	reason  problem.Reason
	message string
}

// faultsOf is the faults of ing as a whole, whatever its host.
func faultsOf(ing *networkingv1.Ingress) []fault {
	var faults []fault
	if len(ing.Spec.Rules) == 0 && ing.Spec.DefaultBackend == nil {
		faults = append(faults, fault{"spec", ReasonEmptyIngress,
			"the Ingress has neither rules nor a default backend; it serves nothing"})
	}
	for i := range ing.Spec.Rules {
		if _, wrong := hostnameOf(ing.Spec.Rules[i].Host); wrong != "" {
			faults = append(faults, fault{fmt.Sprintf("spec.rules[%d].host", i), ReasonInvalidHost,
				fmt.Sprintf("host %q is not served: %s", ing.Spec.Rules[i].Host, wrong)})
		}
	}
	faults = append(faults, issuerFaultsOf(ing)...)
	return append(faults, tlsFaultsOf(ing)...)
}

// report keeps the faults of a field of ing as Problems.
func (b *builder) report(ing *networkingv1.Ingress, at string, faults ...fault) {
	object := problem.Object{Kind: "Ingress", Name: nameOf(ing)}
	for _, fault := range faults {
		b.problems = append(b.problems, fault.in(object, at))
	}
}

// in is the Problem of a fault in a field of an object.
func (f fault) in(object problem.Object, at string) problem.Problem {
	field := at + "." + f.field
	if at == "" || f.field == "" {
		field = at + f.field
	}
	return problem.Problem{Object: object, Field: field, Reason: f.reason, Message: f.message}
}
