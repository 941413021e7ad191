package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// The kinds of the objects that spec.parameters of an IngressClass can name. A
// custom resource has one scope, so there are two.
const (
	KindGatewayConfig        = "GatewayConfig"        // of a namespace
	KindClusterGatewayConfig = "ClusterGatewayConfig" // of the cluster
)

// configGroup is the API group of both.
const configGroup = "fairway.dev"

// Config returns the object that configures the gateway, whether it exists or not. A
// gateway has the name of its configuration.
func (g Gateway) Config() problem.Object {
	if namespace, name, ok := strings.Cut(string(g), "/"); ok {
		return problem.Object{Kind: KindGatewayConfig, Name: types.NamespacedName{Namespace: namespace, Name: name}}
	}
	return problem.Object{Kind: KindClusterGatewayConfig, Name: types.NamespacedName{Name: string(g)}}
}

// ConfiguredBy is the inverse of Config: the gateway of an object of one of the
// two kinds.
func ConfiguredBy(config types.NamespacedName) Gateway {
	if config.Namespace == "" {
		return Gateway(config.Name)
	}
	return Gateway(config.String())
}

// GatewayOf returns the gateway of a class, and whether the class is c's. A class of
// c's whose parameters cannot be understood has no gateway. No other gateway serves its
// Ingresses, because they may not be meant for the public.
func (c Controller) GatewayOf(class *networkingv1.IngressClass) (gateway Gateway, ours bool) {
	if !c.ownsClass(class) {
		return "", false
	}
	gateway, _ = parametersOf(class)
	return gateway, true
}

// Speaker returns which of the Controllers whose classes name a gateway says of its
// configuration whether it is accepted: ControllerName if it is one of them, else the
// first in the alphabet. So all installations, which see the same classes, agree. If no
// class names the gateway, it is ControllerName.
//
// A class of a Controller that is neither c nor begins with "fairway.dev/" counts if its
// parameters are Fairway's: else it may be another product's.
func (c Controller) Speaker(all []*networkingv1.IngressClass, gateway Gateway) string {
	var naming []string
	for _, class := range all {
		p := class.Spec.Parameters
		fairways := c.ownsClass(class) || AnyController.ownsClass(class) || p != nil && deref(p.APIGroup) == configGroup
		if its, wrong := parametersOf(class); fairways && wrong == nil && its == gateway {
			naming = append(naming, class.Spec.Controller)
		}
	}
	if len(naming) == 0 || slices.Contains(naming, ControllerName) {
		return ControllerName
	}
	return slices.Min(naming)
}

// CheckClass returns the Problems of the parameters of a class of c's. It does not look
// whether the object that they name exists.
func (c Controller) CheckClass(class *networkingv1.IngressClass) []problem.Problem {
	_, wrong := parametersOf(class)
	if wrong == nil || !c.ownsClass(class) {
		return nil
	}
	return []problem.Problem{wrong.in(objectOf(class), "spec.parameters")}
}

// MissingParameters is the Problem of a class whose parameters name an object that does
// not exist.
func MissingParameters(class *networkingv1.IngressClass, gateway Gateway) problem.Problem {
	return fault{"", ReasonParametersNotFound, fmt.Sprintf(
		"there is no %s; gateway %q has the controller's own settings", gateway.Config(), gateway),
	}.in(objectOf(class), "spec.parameters")
}

func objectOf(class *networkingv1.IngressClass) problem.Object {
	return problem.Object{Kind: "IngressClass", Name: types.NamespacedName{Name: class.Name}}
}

// parametersOf reads spec.parameters. The kind decides which scope they must have.
func parametersOf(class *networkingv1.IngressClass) (Gateway, *fault) {
	p := class.Spec.Parameters
	if p == nil {
		return DefaultGateway, nil
	}
	wrong := func(field, format string, args ...any) (Gateway, *fault) {
		return "", &fault{field, ReasonInvalidParameters, fmt.Sprintf(format, args...) + "; the Ingresses of this class are not served"}
	}
	if group := deref(p.APIGroup); group != configGroup {
		return wrong("apiGroup", "group %q is not %q", group, configGroup)
	}
	scope := cmp.Or(deref(p.Scope), networkingv1.IngressClassParametersReferenceScopeCluster)
	namespace := deref(p.Namespace)
	switch {
	case p.Name == "":
		return wrong("name", "they name no object")
	case p.Kind == KindClusterGatewayConfig && (scope != networkingv1.IngressClassParametersReferenceScopeCluster || namespace != ""):
		return wrong("scope", "a %s has scope %q and no namespace", p.Kind, networkingv1.IngressClassParametersReferenceScopeCluster)
	case p.Kind == KindGatewayConfig && (scope != networkingv1.IngressClassParametersReferenceScopeNamespace || namespace == ""):
		return wrong("scope", "a %s has scope %q and a namespace", p.Kind, networkingv1.IngressClassParametersReferenceScopeNamespace)
	case p.Kind != KindClusterGatewayConfig && p.Kind != KindGatewayConfig:
		return wrong("kind", "kind %q is neither %s nor %s", p.Kind, KindClusterGatewayConfig, KindGatewayConfig)
	}
	return ConfiguredBy(types.NamespacedName{Namespace: namespace, Name: p.Name}), nil
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}
