package watch

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/fairwaynet/fairway/api/nodelinks"
)

// TrimNode makes a cache keep of a Node what says for which addresses it can answer: its labels,
// its links and whether it is cordoned. And what keep copies.
func TrimNode(keep func(whole, trimmed *corev1.Node)) toolscache.TransformFunc {
	return func(object any) (any, error) {
		node, ok := object.(*corev1.Node)
		if !ok {
			return object, nil // the notice of an event that the stream missed
		}
		trimmed := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, Labels: node.Labels},
			Spec:       corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
		}
		if text, ok := node.Annotations[nodelinks.Annotation]; ok {
			trimmed.Annotations = map[string]string{nodelinks.Annotation: text}
		}
		keep(node, trimmed)
		return trimmed, nil
	}
}

// IsSameNode says whether an update of a trimmed Node changed nothing but its version. Nodes
// change all the time.
func IsSameNode(before, now any) bool {
	was, ok1 := before.(*corev1.Node)
	is, ok2 := now.(*corev1.Node)
	return ok1 && ok2 && equality.Semantic.DeepEqual(was.Labels, is.Labels) && equality.Semantic.DeepEqual(was.Annotations, is.Annotations) &&
		equality.Semantic.DeepEqual(was.Spec, is.Spec) && equality.Semantic.DeepEqual(was.Status, is.Status)
}

// UnlessEnded returns nil if ctx has ended: what then fails, such as a watch that begins, is no
// error.
func UnlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
