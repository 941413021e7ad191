package route

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
)

// reportConflict tells ing that an older Ingress, or an earlier rule of its own, has
// the path that it asks for.
func (b *builder) reportConflict(ing *networkingv1.Ingress, loser, winner claim) {
	match, host := winner.route.Match, forPeople(b.key.Host)
	switch {
	case loser.at.isDefault():
		b.report(ing, loser.at.String(), fault{"", ReasonDefaultBackendConflict, fmt.Sprintf(
			"what no rule serves of %s goes to the default backend of Ingress %s, which comes first", host, winner.route.Origin)})
	case winner.route.Origin != loser.route.Origin:
		b.report(ing, loser.at.String(), fault{"path", ReasonPathConflict, fmt.Sprintf(
			"%s %s of %s belongs to Ingress %s, which comes first; this rule is not used", match.Kind, match.Path, host, winner.route.Origin)})
	case !sameAnswer(winner, loser):
		b.report(ing, loser.at.String(), fault{"path", ReasonDuplicatePath, fmt.Sprintf(
			"%s %s of %s is in %s already; this rule is not used", match.Kind, match.Path, host, winner.at)})
	}
}

// sameAnswer reports whether two claims of one Ingress lead to the same target: to
// ask twice for the same ("/a" and "/a/") takes nothing from anybody.
func sameAnswer(a, b claim) bool {
	if a.fault != nil || b.fault != nil {
		return a.fault != nil && b.fault != nil && *a.fault == *b.fault
	}
	if a.route.Cluster == nil || b.route.Cluster == nil {
		return a.route.Cluster == b.route.Cluster // neither is served, or one
	}
	return *a.route.Cluster == *b.route.Cluster
}

// forPeople names a host in a sentence.
func forPeople(h Hostname) string {
	if h == AnyHost {
		return "the hosts that no Ingress names"
	}
	return fmt.Sprintf("host %q", string(h))
}
