package route

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// Objects are the input of a Host. Build changes none of them.
type Objects struct {
	// Ingresses are those of the key's gateway that concern its host (HostsOf).
	Ingresses []*networkingv1.Ingress
	// Services are at least those that the Ingresses name (ServicesOf). One
	// that is absent does not exist.
	Services map[types.NamespacedName]*corev1.Service
	// LocalBackends says that ExternalName Services may lead to LocalPrefixes.
	LocalBackends bool
	// Challenges are answered under the host before all else, whatever its Ingresses
	// say.
	Challenges []Challenge
	// Wider is the host that serves requests for the host while no Ingress names it:
	// its wildcard or the default host, nil if there is none. It is read only if there
	// are Challenges.
	Wider *Host
}

// Build returns the Host of key, nil if no Ingress asks for its host and there is no
// challenge to answer, and the users' mistakes as Problems. A mistake in one rule never
// changes what another rule serves: a path that cannot be read is left out, and one whose
// backend cannot be used answers 503.
//
// The faults of an Ingress as a whole are reported under the first of its hosts only, so
// that the union over all keys holds each Problem once.
func Build(key Key, objs Objects) (*Host, []problem.Problem) {
	ingresses := byAge(objs.Ingresses)
	b := builder{key: key, services: objs.Services, localBackends: objs.LocalBackends, claims: map[Match]claim{}, policy: connectionPolicyOf(key.Host, ingresses)}
	for _, ing := range ingresses {
		b.addIngress(ing)
	}
	// Default backends come last: they serve the requests that no rule serves.
	for _, ing := range ingresses {
		b.addDefaultBackend(ing)
	}
	var host *Host
	if b.asked {
		host = &Host{Key: key, Client: b.policy.client}
		if b.policy.passthrough {
			host.Passthrough = b.passThrough()
		}
		host.Routes = inOrder(b.claims)
	}
	problems := problem.Sort(b.problems)
	return withChallenges(key, host, objs.Wider, objs.Challenges), problems
}

// builder collects the claims of the Ingresses of one host, oldest first.
type builder struct {
	key      Key
	services map[types.NamespacedName]*corev1.Service
	policy   connectionPolicy

	localBackends bool
	asked         bool // an Ingress names the host
	claims        map[Match]claim
	problems      []problem.Problem
}

// claim is a Route, its place in an Ingress, and the fault of its backend.
type claim struct {
	route Route
	at    position
	fault *fault

	problems []problem.Problem // of the Service
}

// position is a path in an Ingress, or with rule -1 its default backend.
type position struct{ rule, path int }

// String is in the notation of Kubernetes' validation.
func (p position) String() string {
	if p.isDefault() {
		return "spec.defaultBackend"
	}
	return fmt.Sprintf("spec.rules[%d].http.paths[%d]", p.rule, p.path)
}

func (p position) isDefault() bool { return p.rule < 0 }

// addIngress claims the paths that the rules of ing name under the host.
func (b *builder) addIngress(ing *networkingv1.Ingress) {
	opts, faults := optionsOf(ing)
	if firstHostOf(ing) == b.key.Host {
		b.report(ing, "", slices.Concat(faults, passthroughFaultsOf(ing, opts), faultsOf(ing))...)
	}
	b.reportPolicy(ing, opts)
	for i := range ing.Spec.Rules {
		rule := &ing.Spec.Rules[i]
		if !b.key.Host.isNamedBy(rule) {
			continue
		}
		b.asked = true
		if rule.HTTP == nil || len(rule.HTTP.Paths) == 0 {
			b.addEmptyRule(ing, i)
			continue
		}
		for j := range rule.HTTP.Paths {
			b.addPath(ing, &rule.HTTP.Paths[j], position{i, j}, opts)
		}
	}
}

// addEmptyRule takes a rule without paths, which leaves all requests for its
// host to the default backend.
func (b *builder) addEmptyRule(ing *networkingv1.Ingress, rule int) {
	if ing.Spec.DefaultBackend == nil {
		b.report(ing, fmt.Sprintf("spec.rules[%d]", rule), fault{"http", ReasonNoPaths,
			"the rule has no paths and the Ingress has no default backend; the rule serves nothing"})
	}
}

// addPath claims what one path of a rule asks for.
func (b *builder) addPath(ing *networkingv1.Ingress, path *networkingv1.HTTPIngressPath, at position, opts options) {
	match, ok, found := matchOf(path)
	if found != nil {
		b.report(ing, at.String(), *found)
	}
	if !ok || b.policy.excludes(ing) {
		return
	}
	asked := b.claimOf(ing, match, &path.Backend, at, opts)
	if winner, taken := b.claims[match]; taken {
		b.reportConflict(ing, asked, winner)
		return
	}
	b.take(ing, asked)
}

// addDefaultBackend claims the requests that no rule serves: of the hosts that the rules
// of ing name, and of the default host.
func (b *builder) addDefaultBackend(ing *networkingv1.Ingress) {
	backend := ing.Spec.DefaultBackend
	if backend == nil || !b.hasDefaultOf(ing) {
		return
	}
	b.asked = true
	if b.policy.excludes(ing) {
		return
	}
	opts, _ := optionsOf(ing)
	match, at := Match{Kind: Prefix, Path: "/"}, position{rule: -1}
	asked := b.claimOf(ing, match, backend, at, opts)
	winner, taken := b.claims[match]
	switch {
	case !taken:
		b.take(ing, asked)
	case winner.at.isDefault():
		b.reportConflict(ing, asked, winner)
	}
}

// hasDefaultOf reports whether the default backend of ing is also one of the
// host.
func (b *builder) hasDefaultOf(ing *networkingv1.Ingress) bool {
	if b.key.Host == AnyHost {
		return true
	}
	for i := range ing.Spec.Rules {
		if b.key.Host.isNamedBy(&ing.Spec.Rules[i]) {
			return true
		}
	}
	return false
}

// claimOf is the claim of ing with a backend.
func (b *builder) claimOf(ing *networkingv1.Ingress, match Match, backend *networkingv1.IngressBackend, at position, opts options) claim {
	to := b.targetOf(backend, ing.Namespace)
	route := to.route()
	if refused := b.policy.refusal(b.key.Host, ing, opts); refused != nil {
		to = target{}
		route = Route{Status: http.StatusServiceUnavailable, Reason: string(refused.reason)}
	}
	route.Match = match
	route.MaxBody = opts.maxBody
	route.RepeatedSlashes = opts.repeatedSlashes
	route.Redirect = !opts.plainHTTP && (b.policy.isSecure() || b.key.Host.isSecure(ing))
	route.HSTS = opts.hsts(ing, b.key.Host)
	route.Origin = nameOf(ing)
	return claim{route, at, to.fault, to.problems}
}

// reportPolicy tells ing if its demands on clients of the host are not met, or if more is
// demanded.
func (b *builder) reportPolicy(ing *networkingv1.Ingress, asked options) {
	if !b.key.Host.isServedBy(ing) {
		return
	}
	told := b.policy.refusal(b.key.Host, ing, asked)
	if told == nil {
		told = b.policy.stricterDemand(b.key.Host, asked)
	}
	if told != nil && told.message != "" {
		if told.field == "" {
			told.field = b.fieldOf(ing)
		}
		b.report(ing, "", *told)
	}
}

// fieldOf is the field in which ing names the host first.
func (b *builder) fieldOf(ing *networkingv1.Ingress) string {
	for i := range ing.Spec.Rules {
		if b.key.Host.isNamedBy(&ing.Spec.Rules[i]) {
			return fmt.Sprintf("spec.rules[%d].host", i)
		}
	}
	return position{rule: -1}.String()
}

// take gives ing the path that it asked for. Only now a fault of its backend matters.
func (b *builder) take(ing *networkingv1.Ingress, asked claim) {
	b.claims[asked.route.Match] = asked
	b.problems = append(b.problems, asked.problems...)
	if asked.fault == nil {
		return
	}
	field := asked.at.String()
	if !asked.at.isDefault() {
		field += ".backend"
	}
	b.report(ing, field, *asked.fault)
}

// inOrder returns the claimed routes in the order in which they are tried: longest path
// first, Exact before Prefix, as the Ingress API says. Two paths of equal length and kind
// never match the same request; their order is only stable.
func inOrder(claims map[Match]claim) []Route {
	routes := make([]Route, 0, len(claims))
	for _, claim := range claims {
		routes = append(routes, claim.route)
	}
	slices.SortFunc(routes, func(a, b Route) int {
		return cmp.Or(
			-cmp.Compare(len(a.Match.Path), len(b.Match.Path)),
			-cmp.Compare(a.Match.Kind, b.Match.Kind),
			cmp.Compare(a.Match.Path, b.Match.Path),
		)
	})
	return routes
}

// byAge sorts a copy of the Ingresses, oldest first: an older Ingress keeps its paths.
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
