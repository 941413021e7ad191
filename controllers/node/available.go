package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is how long the API server may take: the keeper waits meanwhile.
const patience = 5 * time.Second

// available says on the Node that its network is available, where somebody has said that it
// is not: cloud providers do, until routes exist.
func (a *Agent) available(ctx context.Context) error {
	var node corev1.Node
	err := a.Cache.Get(ctx, types.NamespacedName{Name: string(a.Name)}, &node)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the condition of the node: %w", err)
	}
	unavailable := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Status != corev1.ConditionFalse
	})
	if !unavailable {
		return nil
	}
	now := metav1.NewTime(time.Now())
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "FairwayIsUp",
		Message: "Fairway has made the routes of this node", LastHeartbeatTime: now, LastTransitionTime: now,
	}}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: string(a.Name)}}
	// Conditions are merged by their type.
	if err := a.Client.Status().Patch(ctx, object, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
		return fmt.Errorf("say that the node's network is available: %w", err)
	}
	return nil
}
