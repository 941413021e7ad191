package route

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Controller is the value in spec.controller of the IngressClasses and Issuers that an
// installation of Fairway serves. The zero value is ControllerName.
type Controller string

const (
	// ControllerName is the Controller of an installation that was given no other.
	ControllerName = "fairway.dev/ingress-controller"
	// AnyController stands for every Controller that begins with "fairway.dev/". It is
	// for a look at objects whose installations are not known, and no valid value.
	AnyController Controller = ourDomain + "*"

	ourDomain = "fairway.dev/"
	// maxController is what Kubernetes allows, in letters.
	maxController = 250
)

// String returns the value.
func (c Controller) String() string {
	if c == "" {
		return ControllerName
	}
	return string(c)
}

// Validate returns why no IngressClass can have c, nil if one can.
func (c Controller) Validate() error {
	if len(c) > maxController {
		return fmt.Errorf("has %d letters, and can have %d", len(c), maxController)
	}
	wrong := validation.IsDomainPrefixedPath(field.NewPath(""), string(c))
	if len(wrong) > 0 || c == AnyController {
		return fmt.Errorf("%q is no DOMAIN/PATH, such as %s", string(c), ControllerName)
	}
	return nil
}

// Owns reports whether an IngressClass with this spec.controller is c's.
func (c Controller) Owns(value string) bool {
	if c == AnyController {
		return strings.HasPrefix(value, ourDomain)
	}
	return value == c.String()
}

// OwnsIssuer is Owns for the spec.controller of an Issuer, which may be left out.
func (c Controller) OwnsIssuer(value string) bool { return c.Owns(Controller(value).String()) }

// ownsClass is Owns for an IngressClass.
func (c Controller) ownsClass(class *networkingv1.IngressClass) bool {
	return c.Owns(class.Spec.Controller)
}

// ownsWellKnown reports whether WellKnownClass, as a name without an IngressClass, is
// c's.
func (c Controller) ownsWellKnown() bool { return c.Owns(ControllerName) }

// ControllersOf returns the Controllers of Fairway's that classes tell of: those that
// begin with "fairway.dev/". ControllerName, which needs no class, comes first.
func ControllersOf(classes []*networkingv1.IngressClass) []Controller {
	var others []Controller
	for _, class := range classes {
		if value := Controller(class.Spec.Controller); value != ControllerName && AnyController.ownsClass(class) {
			others = append(others, value)
		}
	}
	slices.Sort(others)
	return append([]Controller{ControllerName}, slices.Compact(others)...)
}
