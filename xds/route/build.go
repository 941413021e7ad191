package route

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// Objects are what a Host is built from. Build changes none of them.
type Objects struct {
	// Ingresses are those of the key's gateway that concern its host (HostsOf).
	Ingresses []*networkingv1.Ingress
	// Services are at least those that the Ingresses name (ServicesOf). One
	// that is absent does not exist.
	Services map[types.NamespacedName]*corev1.Service
}

// Build returns what is served under key, nil if no Ingress asks for its host,
// and the users' mistakes that it found on the way. Nothing that is wrong in an
// Ingress changes what another rule serves: a path that cannot be read is left
// out, one whose backend cannot be used answers 503.
//
// What is wrong with an Ingress as a whole is reported under the first of its
// hosts only, so that the union over all keys holds everything once.
func Build(key Key, objs Objects) (*Host, []problem.Problem) {
	b := builder{key: key, services: objs.Services, claims: map[Match]claim{}}
	ingresses := byAge(objs.Ingresses)
	for _, ing := range ingresses {
		b.addIngress(ing)
	}
	// Default backends come last: they serve what no rule of any Ingress does.
	for _, ing := range ingresses {
		b.addDefaultBackend(ing)
	}
	problems := problem.Sort(b.problems)
	if !b.asked {
		return nil, problems
	}
	return &Host{Key: key, Routes: b.routes()}, problems
}

// builder collects the routes of one host.
type builder struct {
	key      Key
	services map[types.NamespacedName]*corev1.Service
	asked    bool // an Ingress names the host
	claims   map[Match]claim
	problems []problem.Problem
}

// claim is a Route and where it was asked for.
type claim struct {
	route Route
	at    position
}

// position is a path in an Ingress, or with rule -1 its default backend.
type position struct{ rule, path int }

// String is in the notation of Kubernetes' validation.
func (p position) String() string {
	if p.rule < 0 {
		return "spec.defaultBackend"
	}
	return fmt.Sprintf("spec.rules[%d].http.paths[%d]", p.rule, p.path)
}

// addIngress claims the paths that the rules of ing name under the host.
func (b *builder) addIngress(ing *networkingv1.Ingress) {
	options, faults := optionsOf(ing)
	if homeOf(ing) == b.key.Host {
		b.report(ing, "", append(faults, faultsOf(ing)...)...)
	}
	for i := range ing.Spec.Rules {
		rule := &ing.Spec.Rules[i]
		if !b.key.Host.names(rule.Host) {
			continue
		}
		b.asked = true
		if rule.HTTP == nil || len(rule.HTTP.Paths) == 0 {
			b.addEmptyRule(ing, i)
			continue
		}
		for j := range rule.HTTP.Paths {
			b.addPath(ing, &rule.HTTP.Paths[j], position{i, j}, options)
		}
	}
}

// addEmptyRule takes a rule without paths: all requests of its host go to the
// default backend.
func (b *builder) addEmptyRule(ing *networkingv1.Ingress, rule int) {
	if ing.Spec.DefaultBackend == nil {
		b.report(ing, fmt.Sprintf("spec.rules[%d]", rule), fault{"http", ReasonNoPaths,
			"the rule has no paths and the Ingress no default backend; it serves nothing"})
	}
}

// addPath claims what one path of a rule asks for.
func (b *builder) addPath(ing *networkingv1.Ingress, path *networkingv1.HTTPIngressPath, at position, options options) {
	match, ok, found := matchOf(path)
	if found != nil {
		b.report(ing, at.String(), *found)
	}
	if !ok {
		return
	}
	target := targetOf(&path.Backend, ing.Namespace, b.services)
	if target.fault != nil {
		b.report(ing, at.String()+".backend", *target.fault)
	}
	asked := claim{routeOf(ing, match, target, options), at}
	if winner, taken := b.claims[match]; taken {
		b.reportConflict(ing, asked, winner)
		return
	}
	b.claims[match] = asked
}

// addDefaultBackend claims what no rule serves: of the hosts that the rules of
// ing name, and of the default host.
func (b *builder) addDefaultBackend(ing *networkingv1.Ingress) {
	if ing.Spec.DefaultBackend == nil || !b.concerns(ing) {
		return
	}
	b.asked = true
	at := position{rule: -1}
	target := targetOf(ing.Spec.DefaultBackend, ing.Namespace, b.services)
	if target.fault != nil {
		b.report(ing, at.String(), *target.fault)
	}
	match := Match{Kind: Prefix, Path: "/"}
	winner, taken := b.claims[match]
	switch {
	case !taken:
		options, _ := optionsOf(ing)
		b.claims[match] = claim{routeOf(ing, match, target, options), at}
	case winner.at.rule < 0:
		b.report(ing, at.String(), fault{"", ReasonDefaultBackendConflict, fmt.Sprintf(
			"the older Ingress %s has the default backend of %s", winner.route.Origin, b.key.Host.forPeople())})
	}
}

// concerns reports whether the default backend of ing is one of the host.
func (b *builder) concerns(ing *networkingv1.Ingress) bool {
	return b.key.Host == AnyHost || slices.ContainsFunc(ing.Spec.Rules, func(rule networkingv1.IngressRule) bool {
		return b.key.Host.names(rule.Host)
	})
}

// forPeople names a host in a sentence.
func (h Hostname) forPeople() string {
	if h == AnyHost {
		return "the hosts that no Ingress names"
	}
	return fmt.Sprintf("host %q", string(h))
}

func routeOf(ing *networkingv1.Ingress, match Match, target target, options options) Route {
	route := target.route()
	route.Match = match
	route.MaxBody = options.maxBody
	route.Origin = nameOf(ing)
	return route
}

// reportConflict tells ing that what it asked for was asked for before. Asking
// twice for the same in one Ingress ("/a" and "/a/") takes nothing from anyone.
func (b *builder) reportConflict(ing *networkingv1.Ingress, loser, winner claim) {
	match := winner.route.Match
	if winner.route.Origin != loser.route.Origin {
		b.report(ing, loser.at.String(), fault{"path", ReasonPathConflict, fmt.Sprintf(
			"the older Ingress %s serves %s %s of %s", winner.route.Origin, match.Kind, match.Path, b.key.Host.forPeople())})
		return
	}
	if !sameAnswer(winner.route, loser.route) {
		b.report(ing, loser.at.String(), fault{"path", ReasonDuplicatePath, fmt.Sprintf(
			"%s serves %s %s of %s", winner.at, match.Kind, match.Path, b.key.Host.forPeople())})
	}
}

// sameAnswer reports whether two Routes do the same to a request.
func sameAnswer(a, b Route) bool {
	if a.Cluster != nil && b.Cluster != nil {
		return *a.Cluster == *b.Cluster
	}
	return a.Cluster == b.Cluster && a.Reason == b.Reason
}

// routes returns what was claimed in the order in which it is tried: longest
// path first, Exact before Prefix, as the Ingress API says. Two paths of equal
// length and kind never match the same request; their order is only stable.
func (b *builder) routes() []Route {
	routes := make([]Route, 0, len(b.claims))
	for _, claim := range b.claims {
		routes = append(routes, claim.route)
	}
	slices.SortFunc(routes, func(x, y Route) int {
		return cmp.Or(
			cmp.Compare(len(y.Match.Path), len(x.Match.Path)),
			cmp.Compare(y.Match.Kind, x.Match.Kind),
			cmp.Compare(x.Match.Path, y.Match.Path),
		)
	})
	return routes
}

// report keeps faults of the part of ing at a field as Problems.
func (b *builder) report(ing *networkingv1.Ingress, at string, faults ...fault) {
	for _, fault := range faults {
		b.problems = append(b.problems, problem.Problem{
			Object:  problem.Object{Kind: "Ingress", Name: nameOf(ing)},
			Reason:  fault.reason,
			Field:   joined(at, fault.field),
			Message: fault.message,
		})
	}
}

func joined(field, below string) string {
	if field == "" || below == "" {
		return field + below
	}
	return field + "." + below
}

// faultsOf is what is wrong with ing as a whole, whatever its host.
func faultsOf(ing *networkingv1.Ingress) []fault {
	var faults []fault
	if len(ing.Spec.Rules) == 0 && ing.Spec.DefaultBackend == nil {
		faults = append(faults, fault{"spec", ReasonEmptyIngress, "the Ingress has neither rules nor a default backend; it serves nothing"})
	}
	if len(ing.Spec.TLS) > 0 {
		faults = append(faults, fault{"spec.tls", ReasonTLSNotServed, "this version of Fairway does not serve TLS; the hosts are served over HTTP"})
	}
	for i := range ing.Spec.Rules {
		if _, wrong := hostnameOf(ing.Spec.Rules[i].Host); wrong != "" {
			faults = append(faults, fault{fmt.Sprintf("spec.rules[%d].host", i), ReasonInvalidHost,
				fmt.Sprintf("host %q cannot be served: %s", ing.Spec.Rules[i].Host, wrong)})
		}
	}
	return faults
}

// byAge sorts a copy of the Ingresses, oldest first: who came first keeps what
// it has.
func byAge(ingresses []*networkingv1.Ingress) []*networkingv1.Ingress {
	sorted := slices.Clone(ingresses)
	slices.SortFunc(sorted, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			compareNames(nameOf(a), nameOf(b)),
		)
	})
	return sorted
}

func nameOf(ing *networkingv1.Ingress) types.NamespacedName {
	return types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}
}
