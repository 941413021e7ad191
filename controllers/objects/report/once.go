package report

import (
	"context"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
)

// Once is an EventSink that gives equal events equal names. So the next leader, or
// the same one after a restart, does not write again what was written before. That
// holds for as long as the API server keeps events (an hour, by default). A
// recurrence that one process sees is counted on the event, as usual.
type Once struct{ record.EventSink }

// Create implements record.EventSink.
func (o Once) Create(event *corev1.Event) (*corev1.Event, error) {
	event = event.DeepCopy()
	event.Name = nameOf(event)
	made, err := o.EventSink.Create(event)
	if apierrors.IsAlreadyExists(err) {
		return event, nil
	}
	return made, err
}

func nameOf(event *corev1.Event) string {
	h := fnv.New64a()
	for _, part := range []string{
		event.InvolvedObject.Kind, string(event.InvolvedObject.UID), event.Type, event.Reason, event.Message,
	} {
		_, _ = h.Write([]byte(part)) // never fails
		_, _ = h.Write([]byte{0})
	}
	name := event.InvolvedObject.Name
	const room = 253 - 1 - 16 // of an object's name, for a dot and the hash
	return fmt.Sprintf("%s.%016x", name[:min(len(name), room)], h.Sum64())
}

// StartEvents writes events, as Once does, with a client of their own, so that a flood of events
// does not delay the reconcilers' requests.
func StartEvents(ctx context.Context, config *rest.Config) (record.EventBroadcaster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 10, 100
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(Once{EventSink: &typedcorev1.EventSinkImpl{Interface: core.Events("")}})
	return events, nil
}
