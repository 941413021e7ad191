package edge

import (
	"context"
	"errors"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/server"
)

// lists is an API server of Ingresses whose watch ends with a gap: the first list
// is followed by the second.
type lists struct {
	listed int
	all    []*networkingv1.IngressList
}

func (l *lists) list(_ context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	if l.listed == len(l.all) {
		return nil, errors.New("there is no third list")
	}
	l.listed++
	return l.all[l.listed-1], nil
}

func (l *lists) watch(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
	switch {
	case options.SendInitialEvents != nil: // lists in streams are not under test
		return nil, apierrors.NewInvalid(networkingv1.SchemeGroupVersion.WithKind("Ingress").GroupKind(), "", nil)
	case l.listed < len(l.all):
		return nil, apierrors.NewResourceExpired("too old resource version")
	}
	return watch.NewFake(), nil
}

func ingressesAt(version string, each map[string]string) *networkingv1.IngressList {
	list := &networkingv1.IngressList{ListMeta: metav1.ListMeta{ResourceVersion: version}}
	for _, name := range []string{"a", "b"} {
		list.Items = append(list.Items, networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: each[name]},
		})
	}
	return list
}

// A real cache transforms everything in a list before it delivers the first event.
// Without that a replica could claim a version early.
func TestACacheTransformsAListBeforeItTells(t *testing.T) {
	source := &lists{all: []*networkingv1.IngressList{
		ingressesAt("20", map[string]string{"a": "10", "b": "20"}),
		ingressesAt("90", map[string]string{"a": "90", "b": "50"}),
	}}
	tracker := &replica.Tracker{Hosts: server.New(server.Options{})}
	informer := toolscache.NewSharedInformer(
		&toolscache.ListWatch{ListWithContextFunc: source.list, WatchFuncWithContext: source.watch}, &networkingv1.Ingress{}, 0)
	if err := informer.SetTransform(Announcing(tracker, assembly.Trim(Reads(installation.Managers{})))); err != nil {
		t.Fatal(err)
	}
	type step struct{ saw, claimed replica.Version }
	steps := make(chan step, 10)
	saw := func(object any) {
		ingress := object.(*networkingv1.Ingress)
		version, err := replica.ParseVersion(ingress.ResourceVersion)
		if err != nil {
			t.Error(err)
		}
		tracker.Saw(client.ObjectKeyFromObject(ingress), version, nil)
		steps <- step{version, tracker.Report().Watermark}
	}
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: saw, UpdateFunc: func(_, object any) { saw(object) },
	})
	if err != nil {
		t.Fatal(err)
	}
	go informer.RunWithContext(t.Context())
	var told []step
	for range 4 {
		select {
		case s := <-steps:
			told = append(told, s)
		case <-time.After(30 * time.Second):
			t.Fatalf("after %v nothing came", told)
		}
	}
	for i, now := range told {
		for _, later := range told[i+1:] {
			if later.saw <= now.claimed {
				t.Errorf("after %d version %d is claimed, though %d is yet to come (%v)", now.saw, now.claimed, later.saw, told)
			}
		}
	}
	if last := told[len(told)-1]; last.claimed != 90 {
		t.Errorf("in the end %d is claimed, want 90", last.claimed)
	}
}
