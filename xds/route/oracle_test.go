package route_test

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// oracle answers a request straight from the Ingresses, in the words of the
// API's documentation and in no way like Build does: it looks at every rule of
// every Ingress for every request, and knows neither keys nor routes.
type oracle struct{ world }

// candidate is a path that matches a request.
type candidate struct {
	ing     *networkingv1.Ingress
	order   int // in its Ingress
	length  int
	exact   bool
	backend *networkingv1.IngressBackend
}

// ask is what a request gets.
func (o oracle) ask(host, path string) string {
	named := o.namedHost(host)
	var found []candidate
	for _, ing := range o.ingresses {
		found = append(found, matching(ing, named, path)...)
	}
	if len(found) == 0 {
		found = o.defaults(named)
	}
	if len(found) == 0 {
		return "404"
	}
	best := slices.MinFunc(found, before)
	service := best.backend.Service
	if service.Name == "gone" {
		return "503 BackendNotFound"
	}
	return fmt.Sprintf("%s/%s:%d", best.ing.Namespace, service.Name, service.Port.Number)
}

// namedHost is the host of the rules that are about a request for host: that
// very host, else the wildcard over its first label, else none.
func (o oracle) namedHost(host string) string {
	_, parent, _ := strings.Cut(host, ".")
	for _, candidate := range []string{host, "*." + parent} {
		for _, ing := range o.ingresses {
			for _, rule := range ing.Spec.Rules {
				if rule.Host == candidate {
					return candidate
				}
			}
		}
	}
	return ""
}

// matching are the paths of ing that match the request.
func matching(ing *networkingv1.Ingress, host, request string) []candidate {
	var found []candidate
	order := 0
	for _, rule := range ing.Spec.Rules {
		if rule.Host != host || rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			path := &rule.HTTP.Paths[i]
			order++
			exact := *path.PathType == networkingv1.PathTypeExact
			length := len(path.Path)
			if !exact {
				length = len(strings.TrimSuffix(path.Path, "/")) // "ignores trailing slash"
			}
			if exact && path.Path == request || !exact && elementwise(path.Path, request) {
				found = append(found, candidate{ing, order, length, exact, &path.Backend})
			}
		}
	}
	return found
}

// elementwise reports whether "every p is an element-wise prefix of p of the
// request path".
func elementwise(prefix, request string) bool {
	want, have := elements(prefix), elements(request)
	return len(want) <= len(have) && slices.Equal(want, have[:len(want)])
}

func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// defaults are the default backends for what no path of the host matches.
func (o oracle) defaults(host string) []candidate {
	var found []candidate
	for _, ing := range o.ingresses {
		names := slices.ContainsFunc(ing.Spec.Rules, func(rule networkingv1.IngressRule) bool { return rule.Host == host })
		if ing.Spec.DefaultBackend != nil && (host == "" || names) {
			found = append(found, candidate{ing: ing, backend: ing.Spec.DefaultBackend})
		}
	}
	return found
}

// before: "precedence will be given first to the longest matching path", then
// to "an exact path type over prefix path type"; then to the older Ingress, its
// name, and what it says first.
func before(a, b candidate) int {
	for _, better := range []int{
		b.length - a.length,
		boolean(b.exact) - boolean(a.exact),
		a.ing.CreationTimestamp.Compare(b.ing.CreationTimestamp.Time),
		strings.Compare(a.ing.Namespace, b.ing.Namespace),
		strings.Compare(a.ing.Name, b.ing.Name),
		a.order - b.order,
	} {
		if better != 0 {
			return better
		}
	}
	return 0
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
