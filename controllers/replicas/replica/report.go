// Package replica lets the replicas tell one another what their Envoys serve.
//
// Each replica has a Lease of its own, which carries what its Tracker reports: a
// watermark, up to which it has seen every version of an Ingress and its Envoys
// serve it; the Ingresses that are held up, as exceptions; and its Envoys by
// gateway. A View reads all these Leases, and says whether every Envoy serves an
// Ingress. It does not write that into the Ingress (controllers/edge/ingressstatus
// does).
//
// Its invariants: no report claims a version of an Ingress that some Envoy of the
// replica has not accepted; and every claim comes eventually.
package replica

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

// Version is a resourceVersion. Those of Ingresses are in the order of their
// changes (KEP-5504).
type Version uint64

// ParseVersion reads a resourceVersion.
func ParseVersion(text string) (Version, error) {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resource version %q: %w", text, err)
	}
	return Version(number), nil
}

// Report is what a replica says of itself.
type Report struct {
	Watermark Version
	HeldUp    []HeldUp // at most maxHeldUp, oldest first
	// Scope stands for the objects that decide which Ingresses are ours, as they
	// were when the rest of the report was true.
	Scope    string
	Gateways map[route.Gateway]Gateway
	// Challenges are the digests of ACME challenges that the replica answers,
	// sorted; at most maxChallenges.
	Challenges []string
	// Version is the controller's own, for people. Controller is the value of the
	// IngressClasses that it serves; empty: the default one.
	Version, Controller string
	// Problems are those that nobody can find by looking at objects; at most
	// maxProblems.
	Problems []problem.Problem
}

// maxProblems bounds the Problems, and maxMessage the message of each, in bytes.
const (
	maxProblems = 30
	maxMessage  = 1024
)

// maxChallenges bounds the Challenges: a Lease is small. If more names are to be
// proved at once, some wait.
const maxChallenges = 200

// maxHeldUp bounds the exceptions. If there are more, the watermark stays below
// them.
const maxHeldUp = 100

// HeldUp is an Ingress that is not yet served although the watermark includes it.
type HeldUp struct {
	Ingress types.NamespacedName
	Version Version
	Reason  HeldUpReason
	Detail  string // for people
}

// HeldUpReason is why an Ingress is held up.
type HeldUpReason string

// The reasons.
const (
	Waiting  HeldUpReason = "Waiting"  // for an Envoy's ACK
	Rejected HeldUpReason = "Rejected" // by an Envoy
)

// Gateway counts the Envoys of a gateway that are connected to a replica.
type Gateway struct {
	Envoys int `json:"envoys"`
	Synced int `json:"synced"` // those that have caught up
	// Awaited counts those of the others that came a moment ago: they may serve an
	// older picture until they have caught up.
	Awaited int `json:"awaited,omitempty"`
	// Versions are the versions of the Envoys, for people: each once, in order.
	Versions []string `json:"versions,omitempty"`
	// Unproved counts certificates that clients should get but do not.
	Unproved int `json:"unproved,omitempty"`
}

func (g Gateway) equal(other Gateway) bool {
	return g.Envoys == other.Envoys && g.Synced == other.Synced && g.Awaited == other.Awaited &&
		g.Unproved == other.Unproved && slices.Equal(g.Versions, other.Versions)
}

// What a Lease carries.
const (
	// Label is on every Lease of a replica, with the value "true".
	Label = "fairway.dev/replica"

	annotationWatermark = "fairway.dev/watermark"
	annotationHeldUp    = "fairway.dev/held-up"
	annotationScope     = "fairway.dev/scope"
	annotationGateways  = "fairway.dev/gateways"
	annotationVersion   = "fairway.dev/version"
	annotationProblems  = "fairway.dev/problems"
	annotationOf        = "fairway.dev/controller"

	annotationChallenges = "fairway.dev/challenges" // separated by commas
)

// heldUp is HeldUp as it is written.
type heldUp struct {
	Ingress string       `json:"ingress"` // namespace/name
	Version string       `json:"version"`
	Reason  HeldUpReason `json:"reason"`
	Detail  string       `json:"detail,omitempty"`
}

// mistake is a problem.Problem as it is written.
type mistake struct {
	Kind      string         `json:"kind"`
	Namespace string         `json:"namespace,omitempty"`
	Name      string         `json:"name"`
	Field     string         `json:"field,omitempty"`
	Reason    problem.Reason `json:"reason"`
	Message   string         `json:"message"`
}

// Annotations returns the report as a Lease carries it.
func (r Report) Annotations() (map[string]string, error) {
	list := make([]heldUp, len(r.HeldUp))
	for i, h := range r.HeldUp {
		list[i] = heldUp{h.Ingress.String(), strconv.FormatUint(uint64(h.Version), 10), h.Reason, h.Detail}
	}
	held, err1 := json.Marshal(list)
	gateways, err2 := json.Marshal(r.Gateways)
	annotations := map[string]string{
		annotationWatermark: strconv.FormatUint(uint64(r.Watermark), 10),
		annotationHeldUp:    string(held),
		annotationScope:     r.Scope,
		annotationGateways:  string(gateways),
		annotationVersion:   r.Version,
		annotationOf:        r.Controller,

		annotationChallenges: strings.Join(r.Challenges, ","),
	}
	problems, err3 := writeProblems(r.Problems)
	if problems != "" {
		annotations[annotationProblems] = problems
	}
	return annotations, errors.Join(err1, err2, err3)
}

// writeProblems returns the annotation of the first Problems, empty if there are
// none.
func writeProblems(problems []problem.Problem) (string, error) {
	if len(problems) == 0 {
		return "", nil
	}
	var list []mistake
	for _, p := range problems[:min(len(problems), maxProblems)] {
		list = append(list, mistake{
			p.Object.Kind, p.Object.Name.Namespace, p.Object.Name.Name, p.Field, p.Reason, shortenTo(p.Message, maxMessage),
		})
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// readProblems reads what writeProblems wrote.
func readProblems(text string) (problems []problem.Problem, err error) {
	if text == "" {
		return nil, nil
	}
	var list []mistake
	err = json.Unmarshal([]byte(text), &list)
	for _, m := range list {
		object := problem.Object{Kind: m.Kind, Name: types.NamespacedName{Namespace: m.Namespace, Name: m.Name}}
		problems = append(problems, problem.Problem{Object: object, Field: m.Field, Reason: m.Reason, Message: m.Message})
	}
	return problems, err
}

// ParseReport reads what Annotations wrote.
func ParseReport(annotations map[string]string) (Report, error) {
	watermark, err := ParseVersion(annotations[annotationWatermark])
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", annotationWatermark, err)
	}
	r := Report{Watermark: watermark, Scope: annotations[annotationScope], Version: annotations[annotationVersion], Controller: annotations[annotationOf]}
	if challenges := annotations[annotationChallenges]; challenges != "" {
		r.Challenges = strings.Split(challenges, ",")
	}
	if err := json.Unmarshal([]byte(annotations[annotationGateways]), &r.Gateways); err != nil {
		return Report{}, fmt.Errorf("%s: %w", annotationGateways, err)
	}
	var list []heldUp
	if err := json.Unmarshal([]byte(annotations[annotationHeldUp]), &list); err != nil {
		return Report{}, fmt.Errorf("%s: %w", annotationHeldUp, err)
	}
	if r.Problems, err = readProblems(annotations[annotationProblems]); err != nil {
		return Report{}, fmt.Errorf("%s: %w", annotationProblems, err)
	}
	for _, h := range list {
		version, err := ParseVersion(h.Version)
		namespace, name, ok := strings.Cut(h.Ingress, "/")
		if err != nil || !ok {
			return Report{}, fmt.Errorf("%s: %q at version %q", annotationHeldUp, h.Ingress, h.Version)
		}
		r.HeldUp = append(r.HeldUp, HeldUp{types.NamespacedName{Namespace: namespace, Name: name}, version, h.Reason, h.Detail})
	}
	return r, nil
}

// scope is a set of objects, each with a state. Its sum is the same at two
// replicas with the same set.
type scope struct {
	states map[object]string
	sum    uint64
}

type object struct{ kind, name string }

func (s *scope) set(kind, name, state string) {
	o := object{kind, name}
	s.sum ^= o.hash(s.states[o])
	if state == "" {
		delete(s.states, o)
	} else {
		set(&s.states, o, state)
	}
	s.sum ^= o.hash(state)
}

// hash returns 0 for an empty state: the object does not exist.
func (o object) hash(state string) uint64 {
	if state == "" {
		return 0
	}
	h := fnv.New64a()
	for _, part := range []string{o.kind, o.name, state} {
		_, _ = h.Write([]byte(part)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// String returns the sum as text, empty for the empty set.
func (s *scope) String() string {
	if len(s.states) == 0 {
		return ""
	}
	return strconv.FormatUint(s.sum, 16)
}

// maxDetail bounds an Envoy's message, in bytes: a Lease may have a hundred of
// them.
const maxDetail = 300

func shorten(text string) string { return shortenTo(text, maxDetail) }

func shortenTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func oldestFirst(a, b HeldUp) int {
	return cmp.Or(
		cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.Ingress.Namespace, b.Ingress.Namespace),
		cmp.Compare(a.Ingress.Name, b.Ingress.Name),
	)
}

func compareKeys(a, b route.Key) int {
	return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Host, b.Host))
}
