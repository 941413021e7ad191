package clientca

import (
	"maps"
	"math/rand/v2"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/xds/route"
)

// walker changes a cluster, and has the keys reconciled that each event concerns.
type walker struct {
	*stage
	random *rand.Rand
}

// put makes the object what it is in the cluster, or removes it.
func put[O client.Object](w walker, object O, there bool, keys func(O) ([]Key, error)) {
	w.Helper()
	before := object.DeepCopyObject().(O)
	existed := w.cluster.Get(w.Context(), client.ObjectKeyFromObject(object), before) == nil
	var err error
	switch {
	case existed && there:
		object.SetResourceVersion(before.GetResourceVersion())
		err = w.cluster.Update(w.Context(), object)
	case existed:
		err = w.cluster.Delete(w.Context(), before)
	case there:
		err = w.cluster.Create(w.Context(), object)
	}
	if err != nil {
		w.Fatal(err)
	}
	for _, version := range []O{before, object} {
		woken, err := keys(version)
		if err != nil {
			w.Fatal(err)
		}
		for _, key := range woken {
			w.reconcile(key)
		}
	}
}

// secrets are the names of those that Ingresses name.
func secrets() []string { return []string{"staff-ca", "other-ca"} }

// step changes one thing: a Secret, an Ingress, or the class.
func (w walker) step(texts []string) {
	w.Helper()
	pick := func(of ...string) string { return of[w.random.IntN(len(of))] }
	switch there := w.random.IntN(4) > 0; w.random.IntN(5) {
	case 0, 1:
		secret := caSecret(pick(texts...))
		secret.Name = pick(secrets()...)
		put(w, secret, there, func(s *corev1.Secret) ([]Key, error) { return w.secretKeys(w.Context(), s) })
	case 2, 3:
		ingress := guarded(pick("web", "admin"), pick(append(secrets(), "No Name")...))
		ingress.Annotations["kubernetes.io/ingress.class"] = pick("inside", "inside", route.WellKnownClass)
		put(w, ingress, there, func(i *networkingv1.Ingress) ([]Key, error) { return w.ingressKeys(w.Context(), i) })
	default:
		class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: pick("inside", route.WellKnownClass)}}
		class.Spec.Controller = pick(route.ControllerName, route.ControllerName, "k8s.io/ingress-nginx")
		put(w, class, there, func(c *networkingv1.IngressClass) ([]Key, error) { return w.classKeys(w.Context(), c) })
	}
}

// fresh is what a first pass over the cluster as it is builds, finds and remembers.
func (w walker) fresh() (published shelf, found []problem.Problem, known map[Key]bool) {
	w.Helper()
	published = shelf{}
	r := New(w.objects, secretcache.New(w.cluster, nil, nil), nil, nil, w.Reconciler.now)
	for _, name := range secrets() {
		built, problems, err := r.Build(w.Context(), Key{Namespace: "shop", Name: name})
		if err != nil {
			w.Fatal(err)
		}
		if built != nil {
			published[types.NamespacedName{Namespace: "shop", Name: name}] = string(*built)
		}
		found = append(found, problems...)
	}
	return published, problem.Sort(found), r.known
}

// What is published and reported follows from the objects as they are, however they
// came to be so.
func TestAnyHistoryEndsAsAFreshStart(t *testing.T) {
	seed := rand.Uint64()
	staff, guests := newAuthority(t, "staff"), newAuthority(t, "guests")
	s := newStage(t, staff.Certificate.NotBefore)
	s.Reconciler = New(s.objects, secretcache.New(s.cluster, nil, nil), s.published, s.reporter, s.Reconciler.now)
	w := walker{s, rand.New(rand.NewPCG(seed, 0))}
	meaningful := 0
	for step := range 120 {
		w.step([]string{string(staff.PEM()), string(guests.PEM()), "broken"})
		published, found, known := w.fresh()
		walked := maps.Clone(w.published)
		maps.DeleteFunc(walked, func(_ types.NamespacedName, text string) bool { return text == "" }) // withdrawn
		if diff := gocmp.Diff(published, walked); diff != "" {
			t.Fatalf("seed %d step %d (-fresh +walked):\n%s", seed, step, diff)
		}
		if diff := gocmp.Diff(found, w.reporter.Problems(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d step %d, what is wrong (-fresh +walked):\n%s", seed, step, diff)
		}
		if diff := gocmp.Diff(known, w.known); diff != "" {
			t.Fatalf("seed %d step %d, what is remembered (-fresh +walked):\n%s", seed, step, diff)
		}
		meaningful += len(published)
	}
	if meaningful == 0 {
		t.Errorf("seed %d: nothing was ever published", seed)
	}
}
