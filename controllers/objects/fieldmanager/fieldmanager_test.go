package fieldmanager_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
)

func TestOnlyTheOwnMarkIsKept(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, subresource string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: manager, Operation: operation, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`),
		}
	}
	others := []metav1.ManagedFieldsEntry{
		entry("kubectl", metav1.ManagedFieldsOperationApply, "status"),
		entry("blue", metav1.ManagedFieldsOperationUpdate, "status"),
		entry("blue", metav1.ManagedFieldsOperationApply, ""),
	}
	for _, test := range []struct {
		name    string
		managed []metav1.ManagedFieldsEntry
		owned   bool
	}{
		{"others wrote", others, false},
		{"we wrote, too", append(others[:3:3], entry("blue", metav1.ManagedFieldsOperationApply, "status")), true},
		{"nobody wrote", nil, false},
	} {
		ing := &networkingv1.Ingress{}
		ing.ManagedFields = test.managed
		if got := fieldmanager.Status("blue").Owns(ing); got != test.owned {
			t.Errorf("%s: owned before it is trimmed: %t", test.name, got)
		}
		fieldmanager.Status("blue").Keep(ing, test.managed)
		if got := fieldmanager.Status("blue").Owns(ing); got != test.owned || fieldmanager.Status("red").Owns(ing) {
			t.Errorf("%s: owned %t, want %t", test.name, got, test.owned)
		}
		if len(ing.ManagedFields) > 1 || len(ing.ManagedFields) == 1 && ing.ManagedFields[0].FieldsV1 != nil {
			t.Errorf("%s: kept is %v", test.name, ing.ManagedFields)
		}
	}
}
