package gatewayconfig

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/route"
)

const inner route.Gateway = "inner"

// wall is a Publisher that remembers what was put up.
type wall map[route.Gateway]route.Settings

func (w wall) PublishSettings(gateway route.Gateway, settings route.Settings) { w[gateway] = settings }
func (w wall) WithdrawGateway(gateway route.Gateway)                          { delete(w, gateway) }

// stage is a cluster with a class that names the gateway inner.
type stage struct {
	t       *testing.T
	cluster client.Client
	wall    wall
	r       *Reconciler
}

func newStage(t *testing.T) *stage {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "inner"}}
	class.Spec.Controller = route.ControllerName
	class.Spec.Parameters = &networkingv1.IngressClassParametersReference{
		APIGroup: new("fairway.dev"), Kind: route.KindClusterGatewayConfig, Name: "inner",
	}
	s := &stage{t: t, wall: wall{}, cluster: fake.NewClientBuilder().WithScheme(scheme).WithObjects(class).
		WithStatusSubresource(&v1alpha1.ClusterGatewayConfig{}).Build()}
	s.restart()
	return s
}

// restart forgets what the Reconciler remembers.
func (s *stage) restart() {
	s.r = &Reconciler{
		Objects: index.Objects{Cluster: s.cluster}, Base: route.DefaultSettings(), Publisher: s.wall, Reporter: &report.Reporter{},
	}
}

// set creates the configuration of the gateway inner, or deletes it.
func (s *stage) set(uid types.UID, spec *v1alpha1.GatewayConfigSpec) {
	s.t.Helper()
	config := &v1alpha1.ClusterGatewayConfig{ObjectMeta: metav1.ObjectMeta{Name: "inner", UID: uid}}
	err := client.IgnoreNotFound(s.cluster.Delete(s.t.Context(), config))
	if spec != nil {
		config.Spec = *spec
		err = errors.Join(err, s.cluster.Create(s.t.Context(), config))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// reconciled returns the gateway's ports after a run, and the number of Problems.
func (s *stage) reconciled() (http, https uint16, problems int) {
	s.t.Helper()
	if _, err := s.r.Reconcile(s.t.Context(), inner); err != nil {
		s.t.Fatal(err)
	}
	settings := s.wall[inner]
	return settings.HTTPPort, settings.HTTPSPort, len(s.r.Reporter.(*report.Reporter).Problems())
}

func specOf(http, https int32) *v1alpha1.GatewayConfigSpec {
	return &v1alpha1.GatewayConfigSpec{HTTPPort: &http, HTTPSPort: &https}
}

func TestAMistakeKeepsTheLastGoodSettings(t *testing.T) {
	s := newStage(t)
	for _, step := range []struct {
		name        string
		uid         types.UID
		spec        *v1alpha1.GatewayConfigSpec
		restart     bool
		http, https uint16
		problems    int
	}{
		{name: "there is none: the base, and the class is told", http: 80, problems: 1},
		{name: "one without mistakes", uid: "1", spec: specOf(8080, 8443), http: 8080, https: 8443},
		{name: "a mistake changes nothing, the right fields neither", uid: "1", spec: specOf(8081, 70000), http: 8080, https: 8443, problems: 1},
		{name: "another mistake neither", uid: "1", spec: specOf(-1, 9443), http: 8080, https: 8443, problems: 1},
		{name: "mended", uid: "1", spec: specOf(8082, 8443), http: 8082, https: 8443},
		{name: "after a restart the right fields count", uid: "1", spec: specOf(8083, 70000), restart: true, http: 8083, problems: 1},
		{name: "mended after a restart", uid: "1", spec: specOf(8083, 8443), http: 8083, https: 8443},
		{name: "another object of the name has no last good settings", uid: "2", spec: specOf(8084, 70000), http: 8084, problems: 1},
		{name: "deleted", http: 80, problems: 1},
	} {
		s.set(step.uid, step.spec)
		if step.restart {
			s.restart()
		}
		http, https, problems := s.reconciled()
		if http != step.http || https != step.https || problems != step.problems {
			t.Errorf("%s: ports %d and %d with %d problems, want %d and %d with %d",
				step.name, http, https, problems, step.http, step.https, step.problems)
		}
	}
}

// unwatched is a cluster without the custom resources.
type unwatched struct{ client.Reader }

func (u unwatched) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if _, ok := list.(*networkingv1.IngressClassList); !ok {
		return &cache.ErrResourceNotCached{}
	}
	return u.Reader.List(ctx, list, options...)
}

func TestWithoutCustomResourcesGatewaysHaveTheBase(t *testing.T) {
	s := newStage(t)
	s.r.Objects.Cluster = unwatched{s.cluster}
	if http, _, problems := s.reconciled(); http != 80 || problems != 1 {
		t.Errorf("port %d with %d problems, want 80 with 1", http, problems)
	}
}

// The condition is written only when it changes, and only while Run runs.
func TestConditions(t *testing.T) {
	s := newStage(t)
	writes := make(chan struct{}, 100)
	now := time.Unix(1_800_000_000, 0)
	c := &Conditions{
		Objects: index.Objects{Cluster: s.cluster}, Base: route.DefaultSettings(),
		Writer: counting{s.cluster, writes}, Manager: "fairway-controller", Log: logr.Discard(), Now: func() time.Time { return now },
	}
	s.set("1", specOf(8080, 70000))
	c.Touch(inner) // no replica leads: nothing happens
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	receive(t, writes)
	if got := s.condition(); got.Status != metav1.ConditionFalse || got.Reason != v1alpha1.ReasonInvalid || !got.LastTransitionTime.Time.Equal(now) {
		t.Errorf("condition %+v", got)
	}
	want := "The last settings without mistakes stay in force. spec.httpsPort: 70000 is not between 0 and 65535"
	if diff := cmp.Diff(want, s.condition().Message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	c.Touch(inner)
	c.Touch("unknown")
	cancel()
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
	if len(writes) > 0 {
		t.Error("an equal condition is written again")
	}
}

// What classes of another installation configure by is that one's to judge.
func TestConditionsOfAnotherInstallationAreLeftAlone(t *testing.T) {
	s := newStage(t)
	s.set("1", specOf(8080, 70000))
	for controller, want := range map[route.Controller]int{"": 1, "fairway.dev/blue": 0, "k8s.io/ingress-nginx": 0} {
		writes := make(chan struct{}, 100)
		objects := index.Objects{Cluster: s.cluster, Scope: index.Scope{Controller: controller}}
		c := &Conditions{
			Objects: objects, Base: route.DefaultSettings(), Writer: counting{s.cluster, writes}, Manager: "x", Log: logr.Discard(),
			Now: func() time.Time { return time.Unix(1_800_000_000+int64(len(controller)), 0) },
		}
		s.set("2", specOf(8080, 70000))
		if err := c.write(t.Context(), inner); err != nil || len(writes) != want {
			t.Errorf("%q: %d writes, %v, want %d", controller, len(writes), err, want)
		}
		r := &Reconciler{Objects: objects, Base: route.DefaultSettings()}
		if settings, problems, err := r.Build(t.Context(), inner); err != nil || (settings != nil) != (want > 0) || len(problems) != want {
			t.Errorf("%q: settings %v, %d problems, %v", controller, settings, len(problems), err)
		}
	}
}

func (s *stage) condition() metav1.Condition {
	s.t.Helper()
	config := &v1alpha1.ClusterGatewayConfig{}
	if err := s.cluster.Get(s.t.Context(), client.ObjectKey{Name: "inner"}, config); err != nil {
		s.t.Fatal(err)
	}
	if len(config.Status.Conditions) != 1 {
		s.t.Fatalf("conditions %+v, want one", config.Status.Conditions)
	}
	return config.Status.Conditions[0]
}

// counting counts each write of a status.
type counting struct {
	client.Client
	writes chan struct{}
}

func (c counting) Status() client.SubResourceWriter {
	return countingStatus{c.Client.Status(), c.writes}
}

type countingStatus struct {
	client.SubResourceWriter
	writes chan struct{}
}

func (c countingStatus) Apply(ctx context.Context, object runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
	defer func() { c.writes <- struct{}{} }()
	return c.SubResourceWriter.Apply(ctx, object, options...)
}

func receive[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
	}
	return value
}
