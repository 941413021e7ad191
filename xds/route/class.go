package route

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The names in IngressClasses.
const (
	// WellKnownClass is the class that annotationClass can name without an
	// IngressClass object, as before IngressClasses existed. It belongs to
	// ControllerName.
	WellKnownClass = "fairway"

	annotationClass = "kubernetes.io/ingress.class"
)

// ClassOptions decide about an Ingress, besides its class.
type ClassOptions struct {
	// Controller is ours: a class of another Controller is not.
	Controller Controller
	// ClaimAll takes every Ingress, whatever its class: for a folder of
	// manifests that holds no IngressClass.
	ClaimAll bool
	// Only, if not empty, names the only classes that can be ours. All others are
	// left to another installation, whatever their controller.
	Only []string
	// OneGateway makes DefaultGateway the gateway of every class: for a process that
	// runs only one.
	OneGateway bool
}

// Classes says which Ingresses are ours. The zero value takes none.
type Classes struct {
	claimAll  bool
	gateways  map[string]Gateway // by IngressClass; empty: the class is not ours
	wellKnown Gateway            // of WellKnownClass by annotation, while no IngressClass has that name
	fallback  Gateway            // of the default class; empty: there is none, or it is not ours

	others  map[string]bool // classes of other controllers
	unnamed bool            // an Ingress without a class is another controller's, or no controller's
}

// NewClasses reads the IngressClasses of a cluster.
func NewClasses(list []*networkingv1.IngressClass, opts ClassOptions) Classes {
	classes := Classes{
		claimAll: opts.ClaimAll, gateways: make(map[string]Gateway, len(list)), others: make(map[string]bool, len(list)),
	}
	gatewayOf := func(class *networkingv1.IngressClass) Gateway {
		gateway, ours := opts.Controller.GatewayOf(class)
		if ours && opts.OneGateway {
			return DefaultGateway
		}
		return gateway
	}
	var defaults []*networkingv1.IngressClass
	for _, class := range list {
		classes.gateways[class.Name] = ""
		classes.others[class.Name] = !opts.Controller.ownsClass(class)
		if opts.Admits(class.Name) {
			classes.gateways[class.Name] = gatewayOf(class)
		}
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			defaults = append(defaults, class)
		}
	}
	classes.unnamed = true
	if len(defaults) > 0 {
		chosen := slices.MinFunc(defaults, newestFirst).Name
		classes.fallback, classes.unnamed = classes.gateways[chosen], classes.others[chosen]
	}
	if _, exists := classes.gateways[WellKnownClass]; !exists && opts.Controller.ownsWellKnown() && opts.Admits(WellKnownClass) {
		classes.wellKnown = DefaultGateway
	}
	return classes
}

// Admits reports whether a class of that name can be ours.
func (o ClassOptions) Admits(class string) bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, class)
}

// Gateway returns the gateway that serves ing, and whether there is one. The field
// comes before the annotation, and the annotation before the default class.
func (c Classes) Gateway(ing *networkingv1.Ingress) (Gateway, bool) {
	if c.claimAll {
		return DefaultGateway, true
	}
	var gateway Gateway
	if name := ing.Spec.IngressClassName; name != nil {
		gateway = c.gateways[*name]
	} else if name, set := ing.Annotations[annotationClass]; set {
		gateway = c.gateways[name]
		if name == WellKnownClass && gateway == "" {
			gateway = c.wellKnown
		}
	} else {
		gateway = c.fallback
	}
	return gateway, gateway != ""
}

// Foreign reports whether ing is certainly another controller's. It names a class of
// another controller, or none, and the default class is not ours either. An Ingress
// whose class does not exist may be ours again when the class is back.
func (c Classes) Foreign(ing *networkingv1.Ingress) bool {
	if c.claimAll {
		return false
	}
	if name, named := ClassOf(ing); named {
		return c.others[name]
	}
	return c.unnamed
}

// ClassOf is the class that an Ingress names, in its field or else by annotation.
func ClassOf(ing *networkingv1.Ingress) (name string, named bool) {
	if name := ing.Spec.IngressClassName; name != nil {
		return *name, true
	}
	name, named = ing.Annotations[annotationClass]
	return name, named
}

// Gateways returns all gateways: DefaultGateway, and those that the classes name.
func (c Classes) Gateways() []Gateway {
	gateways := []Gateway{DefaultGateway}
	for _, gateway := range c.gateways {
		if gateway != "" {
			gateways = append(gateways, gateway)
		}
	}
	slices.Sort(gateways)
	return slices.Compact(gateways)
}

// newestFirst is the order in which Kubernetes' own admission plugin chooses
// among several default classes.
func newestFirst(a, b *networkingv1.IngressClass) int {
	return cmp.Or(
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

// IsGateway reports whether an IngressClass can name the gateway.
func IsGateway(name string) bool {
	if namespace, rest, found := strings.Cut(name, "/"); found {
		return len(validation.IsDNS1123Label(namespace)) == 0 && len(validation.IsDNS1123Subdomain(rest)) == 0
	}
	return len(validation.IsDNS1123Subdomain(name)) == 0
}
