package report_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/report"
)

func TestEvents(t *testing.T) {
	cart := types.NamespacedName{Namespace: "shop", Name: "cart"}
	tests := []struct {
		name    string
		problem problem.Problem
		want    string // of the event, empty: none
	}{
		{
			name: "on the object, with its UID",
			problem: problem.Problem{
				Object: problem.Object{Kind: "Ingress", Name: cart}, Reason: "BackendNotFound",
				Field: "spec.rules[0]", Message: `Service "x" does not exist`,
			},
			want: `Warning BackendNotFound spec.rules[0]: Service "x" does not exist involvedObject{kind=Ingress,apiVersion=networking.k8s.io/v1}`,
		},
		{
			name:    "without field",
			problem: problem.Problem{Object: problem.Object{Kind: "Ingress", Name: cart}, Reason: "R", Message: "100% wrong"},
			want:    `Warning R 100% wrong involvedObject{kind=Ingress,apiVersion=networking.k8s.io/v1}`,
		},
		{
			name:    "not for a file",
			problem: problem.Problem{Object: problem.Object{Kind: "File", Name: cart}, Reason: "R", Message: "m"},
		},
		{
			name:    "not for an object that is gone",
			problem: problem.Problem{Object: problem.Object{Kind: "Service", Name: cart}, Reason: "R", Message: "m"},
		},
	}
	objects := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(&networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: cart.Namespace, Name: cart.Name, UID: "1234"},
	}).Build()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			recorder := record.NewFakeRecorder(10)
			recorder.IncludeObject = true
			events := report.Events{Recorder: recorder, Objects: objects}
			events.Appeared(t.Context(), test.problem)
			events.Resolved(t.Context(), test.problem)
			close(recorder.Events)
			if got := <-recorder.Events; got != test.want {
				t.Errorf("event\n%q, want\n%q", got, test.want)
			}
			if more, ok := <-recorder.Events; ok {
				t.Errorf("a second event: %q", more)
			}
		})
	}
}

func TestLongMessagesAreShortened(t *testing.T) {
	objects := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(&networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
	}).Build()
	for length := 1020; length < 1030; length++ {
		recorder := record.NewFakeRecorder(1)
		report.Events{Recorder: recorder, Objects: objects}.Appeared(t.Context(), problem.Problem{
			Object:  problem.Object{Kind: "Ingress", Name: types.NamespacedName{Name: "a"}},
			Reason:  "R",
			Message: strings.Repeat("x", length%4) + strings.Repeat("ü", length/2),
		})
		message := strings.TrimPrefix(<-recorder.Events, "Warning R ")
		if len(message) > 1024 || !utf8.ValidString(message) {
			t.Errorf("%d bytes, valid UTF-8: %t", len(message), utf8.ValidString(message))
		}
	}
}
