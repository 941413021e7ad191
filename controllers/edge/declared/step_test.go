package declared

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

func TestDecide(t *testing.T) {
	key := Key{"Issuer", "a"}
	labelled := func(mark string) *v1alpha1.Issuer {
		return &v1alpha1.Issuer{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{Label: mark}}}
	}
	going := labelled("us")
	going.DeletionTimestamp = &metav1.Time{}
	declares := map[string]*Declaration{
		"it":                          {Objects: map[Key]Manifest{key: {}}, Named: map[Key]bool{key: true}},
		"it, without a known owner":   {Objects: map[Key]Manifest{key: {}}, Named: map[Key]bool{key: true}, NoOwner: true},
		"it, with a mistake":          {Named: map[Key]bool{key: true}},
		"nothing":                     {},
		"something that is unread":    {Unreadable: true},
		"nothing, with a wrong owner": {NoOwner: true},
	}
	for _, test := range []struct {
		declared string
		found    client.Object
		want     step
	}{
		{"it", nil, apply},
		{"it", labelled("us"), apply},
		{"it", labelled("them"), conflict},
		{"it", &v1alpha1.Issuer{}, conflict},
		{"it", going, leave},
		{"it, without a known owner", nil, leave},
		{"it, without a known owner", labelled("us"), leave},
		{"it, with a mistake", nil, leave},
		{"it, with a mistake", labelled("us"), leave},
		{"it, with a mistake", labelled("them"), leave},
		{"nothing", nil, leave},
		{"nothing", labelled("us"), remove},
		{"nothing", labelled("them"), leave},
		{"nothing", &v1alpha1.Issuer{}, leave},
		{"nothing", going, leave},
		{"something that is unread", labelled("us"), leave},
		{"nothing, with a wrong owner", labelled("us"), remove},
	} {
		if got := decide(declares[test.declared], "us", key, test.found); got != test.want {
			t.Errorf("declared is %s, found %v: %d, want %d", test.declared, test.found, got, test.want)
		}
	}
}

func TestMarks(t *testing.T) {
	long := strings.Repeat("x", 60)
	for name, want := range map[types.NamespacedName]string{
		configMap:                      "fairway-system.fairway-declared",
		{Namespace: "a", Name: "b.c"}:  "a.b.c",
		{Namespace: "ab", Name: long}:  "ab." + long, // 63 bytes
		{Namespace: "abc", Name: long}: "abc." + strings.Repeat("x", 42) + "-",
	} {
		got := Mark(name)
		if !strings.HasPrefix(got, want) || len(want) < 63 && !strings.HasSuffix(want, "-") && got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if wrong := validation.IsValidLabelValue(got); wrong != nil {
			t.Errorf("%s: %s: %v", name, got, wrong)
		}
	}
	if Mark(types.NamespacedName{Namespace: "abc", Name: long}) == Mark(types.NamespacedName{Namespace: "abc", Name: long + "y"}) {
		t.Error("two long names have one mark")
	}
}

func TestJudge(t *testing.T) {
	issuers := schema.GroupResource{Group: "fairway.dev", Resource: "issuers"}
	for _, test := range []struct {
		name string
		err  error
		want verdict
	}{
		{"the kind is unknown", &meta.NoKindMatchError{}, missing},
		{"the kind is gone", apierrors.NewNotFound(issuers, "a"), missing},
		{"somebody was faster", apierrors.NewConflict(issuers, "a", errors.New("x")), moved},
		{"a rule of the CRD", apierrors.NewInvalid(schema.GroupKind{}, "a", nil), refused},
		{"a field that does not exist", apierrors.NewBadRequest("x"), refused},
		{"a policy, or a missing right", apierrors.NewForbidden(issuers, "a", errors.New("x")), refused},
		{"a field of the wrong type", apierrors.NewInternalError(errors.New("failed to create typed patch object")), refused},
		{"a busy server", apierrors.NewTooManyRequests("x", 1), failure},
		{"a server that stops", apierrors.NewServiceUnavailable("x"), failure},
		{"a slow server", apierrors.NewTimeoutError("x", 1), failure},
		{"no server", errors.New("connection refused"), failure},
	} {
		if got, _ := judge(test.err); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
	const long = "failed to create typed patch object (/a; fairway.dev/v1alpha1, Kind=Issuer): .spec.emial: field not declared in schema"
	if _, message := judge(&apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: long}}); message != ".spec.emial: field not declared in schema" {
		t.Errorf("the message is %q", message)
	}
	if _, message := judge(apierrors.NewBadRequest(strings.Repeat("long ", 1000))); len(message) > maxMessage {
		t.Errorf("a message has %d bytes", len(message))
	}
}

func TestWhoMadeAnObject(t *testing.T) {
	at := func(day int) *metav1.Time { return &metav1.Time{Time: time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC)} }
	made := func(manager, subresource string, day int) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, Time: at(day)}
	}
	key := Key{"Issuer", "letsencrypt"}
	for _, test := range []struct {
		name string
		meta metav1.ObjectMeta
		want string
	}{
		{
			"a person", metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{made("kubectl-edit", "", 3), made("kubectl", "", 2), made("fairway-controller", "status", 1)}},
			"kubectl made it on 2026-11-02; delete it, take the entry out of the ConfigMap (with Helm: out of the values), or let Fairway have it: " +
				"kubectl label issuer.fairway.dev letsencrypt fairway.dev/declared-by=fairway-system.fairway-declared",
		},
		{
			"another installation", metav1.ObjectMeta{Labels: map[string]string{Label: "b.c"}, Annotations: map[string]string{Label: "b/c"}},
			"ConfigMap b/c of another installation of Fairway declares it; take it out of one of the two",
		},
		{"another, of which only the label is known", metav1.ObjectMeta{Labels: map[string]string{Label: "b.c"}}, "ConfigMap b.c of another installation"},
		{"we", metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{made("kubectl-label", "", 1), made(fieldOwner, "", 2)}}, "somebody has removed its label fairway.dev/declared-by"},
		{"it does not say", metav1.ObjectMeta{}, "nobody knows who made it; delete it"},
	} {
		if got := makerOf(key, &v1alpha1.Issuer{ObjectMeta: test.meta}, configMap); !strings.HasPrefix(got, test.want) && !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestTriesAreLaterAndLater(t *testing.T) {
	a := &attempt{}
	var total time.Duration
	for range 5 {
		total += a.later(lastTry)
	}
	if total != firstTry*15+lastTry || a.later(lastRefused) != 8*time.Second {
		t.Errorf("five tries take %s, then %d", total, a.failures)
	}
	a.failures = 1000
	if a.later(lastRefused) != lastRefused {
		t.Error("a try comes too late")
	}
}

// The object that the API server answers with is the one that the cache gets.
func TestStandingsCanBeCompared(t *testing.T) {
	typed := &v1alpha1.Issuer{ObjectMeta: metav1.ObjectMeta{
		UID: "1", Generation: 2, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ClusterRole", Name: "x", UID: "2"}},
	}}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		t.Fatal(err)
	}
	answer := &unstructured.Unstructured{Object: content}
	if !equality.Semantic.DeepEqual(standingOf(typed), standingOf(answer)) {
		t.Errorf("%+v is not %+v", standingOf(typed), standingOf(answer))
	}
	answer.SetGeneration(3)
	if equality.Semantic.DeepEqual(standingOf(typed), standingOf(answer)) {
		t.Error("another generation is the same")
	}
}
