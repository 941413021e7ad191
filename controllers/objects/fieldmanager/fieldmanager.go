// Package fieldmanager keeps in cached objects which statuses are ours.
//
// Each installation writes statuses by server-side apply with a field manager of its
// own. The API server notes that in the object's managed fields, which caches drop
// because they are large. A Status keeps of them the one mark that counts.
package fieldmanager

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Status is the name of a field manager that writes statuses.
type Status string

// Keep sets the managed fields of an object to the mark that s has written its
// status, if managed has it, and else to none. A cache's transform calls it.
func (s Status) Keep(object client.Object, managed []metav1.ManagedFieldsEntry) {
	object.SetManagedFields(nil)
	if slices.ContainsFunc(managed, s.wrote) {
		object.SetManagedFields([]metav1.ManagedFieldsEntry{s.mark()})
	}
}

// Owns reports whether s has written of the object's status what is there.
func (s Status) Owns(object client.Object) bool {
	return slices.ContainsFunc(object.GetManagedFields(), s.wrote)
}

// mark is the entry of s, without the fields.
func (s Status) mark() metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: string(s), Operation: metav1.ManagedFieldsOperationApply, Subresource: "status"}
}

func (s Status) wrote(e metav1.ManagedFieldsEntry) bool {
	mark := s.mark()
	return e.Manager == mark.Manager && e.Operation == mark.Operation && e.Subresource == mark.Subresource
}
