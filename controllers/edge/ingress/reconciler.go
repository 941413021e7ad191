// Package ingress keeps the virtual hosts of Envoy as the Ingresses of the cluster
// ask.
//
// Its key is a host of a gateway, not an Ingress: several Ingresses may share a
// host, and one Ingress may name many. It knows nothing of Envoy, of the order in
// which a change reaches it (xds/server), or of endpoints
// (controllers/edge/endpoints). Its invariant: what is published for a key follows
// from the objects of that key alone, whatever their history.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/objects/apireader"
	"github.com/fairwaynet/fairway/controllers/objects/hostkeys"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// Publisher takes what is to be served under a key.
type Publisher interface {
	// PublishHost makes host what is served under key; nil withdraws it.
	// Publishing the same again costs nothing.
	PublishHost(key route.Key, host *route.Host)
	// Host returns the state of what was published.
	Host(key route.Key) server.HostState
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps one virtual host as the Ingresses that name it ask.
type Reconciler struct {
	Objects index.Objects
	// Live reads from the API server directly; nil where there is none.
	Live      *apireader.Reader
	Publisher Publisher
	Reporter  Reporter
	// Tracker hears of every event before its keys are queued; may be nil.
	Tracker *replica.Tracker
	// Challenges are what hosts answer to certificate authorities; nil: nothing.
	Challenges *challenge.Set
	// LocalBackends allows Services to stand for route.LocalPrefixes.
	LocalBackends bool

	known hostkeys.Set

	mu         sync.Mutex
	large      map[route.Key]struct{}
	publishing map[route.Key]struct{} // now, or interrupted by a panic
}

// manyRoutes is the number of routes from which a host is large: it costs many
// times more than most.
const manyRoutes = 100

// IsLarge reports whether a run of key takes long, as far as is known.
func (r *Reconciler) IsLarge(key route.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, large := r.large[key]
	return large
}

func (r *Reconciler) weigh(key route.Key, host *route.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case host == nil || len(host.Routes) < manyRoutes:
		delete(r.large, key)
	case r.large == nil:
		r.large = map[route.Key]struct{}{key: {}}
	default:
		r.large[key] = struct{}{}
	}
}

// Reconcile brings the host of key up to date. It decides by nothing that it
// remembers, so it can never act on a stale half of the picture.
func (r *Reconciler) Reconcile(ctx context.Context, key route.Key) (reconcile.Result, error) {
	r.known.Note(key, true) // before looking: an event from now on finds it there
	host, problems, err := r.build(ctx, key, r.published)
	if later := (*apireader.LaterError)(nil); errors.As(err, &later) {
		return reconcile.Result{RequeueAfter: later.After, Priority: new(afterAll)}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Publish(key, host)
	r.Reporter.Report(ctx, key, problems)
	r.known.Note(key, host != nil || len(problems) > 0)
	return reconcile.Result{}, nil
}

// Build returns what Reconcile publishes and reports for key when nothing is
// published yet.
func (r *Reconciler) Build(ctx context.Context, key route.Key) (*route.Host, []problem.Problem, error) {
	r.known.Note(key, true)
	nothing := func(route.Key) *route.Host { return nil }
	host, problems, err := r.build(ctx, key, nothing)
	if err != nil {
		return nil, nil, err
	}
	r.known.Note(key, host != nil || len(problems) > 0)
	return host, problems, nil
}

// Publish makes host what is served under key. It skips a value that is published
// already, because comparing thousands of routes takes less time than rendering them.
// A panic during publication leaves the state of the key unknown: the next run
// publishes the value again.
func (r *Reconciler) Publish(key route.Key, host *route.Host) {
	r.weigh(key, host)
	state := r.Publisher.Host(key)
	if r.begin(key) || !state.Published || !reflect.DeepEqual(state.Value, host) {
		r.Publisher.PublishHost(key, host)
	}
	r.Challenges.Published(key, route.ChallengesOf(host))
	r.end(key)
}

// begin notes that key is being published. It reports whether an earlier publication
// has begun and not ended.
func (r *Reconciler) begin(key route.Key) (interrupted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, interrupted = r.publishing[key]
	if r.publishing == nil {
		r.publishing = map[route.Key]struct{}{}
	}
	r.publishing[key] = struct{}{}
	return interrupted
}

func (r *Reconciler) end(key route.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.publishing, key)
}

// afterAll is the priority of a key that comes back later.
const afterAll = -1000

// build returns what is to be served under key. If by the caches a published route
// that works would break, it asks the API server.
func (r *Reconciler) build(
	ctx context.Context, key route.Key, published func(route.Key) *route.Host,
) (*route.Host, []problem.Problem, error) {
	objects, err := r.gather(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("gather %s: %w", key, err)
	}
	if len(objects.Challenges) > 0 && len(objects.Ingresses) == 0 {
		if objects.Wider, err = r.wider(ctx, key, published); err != nil {
			return nil, nil, err
		}
	}
	host, problems := route.Build(key, objects)
	if r.Live == nil || !missesBackend(host) {
		return host, problems, nil
	}
	broken := breaking(published(key), host)
	if len(broken) == 0 {
		return host, problems, nil
	}
	if objects, err = r.refresh(ctx, host, broken, objects); err != nil {
		return nil, nil, fmt.Errorf("refresh %s: %w", key, err)
	}
	host, problems = route.Build(key, objects)
	return host, problems, nil
}

// wider returns what serves requests for a host that no Ingress names, nil if
// nothing does. The key of that wider host reports what is wrong with it.
func (r *Reconciler) wider(
	ctx context.Context, key route.Key, published func(route.Key) *route.Host,
) (*route.Host, error) {
	for _, wider := range challenge.Wider(key) {
		host, _, err := r.build(ctx, wider, published)
		if err != nil || host != nil {
			return host, err
		}
	}
	return nil, nil
}

// gather returns what the caches know about the key. It is shared and must not be
// changed.
func (r *Reconciler) gather(ctx context.Context, key route.Key) (route.Objects, error) {
	ingresses, err := Of(ctx, r.Objects, key)
	if err != nil {
		return route.Objects{}, err
	}
	services, err := r.services(ctx, key.Host, ingresses)
	return route.Objects{
		Ingresses: ingresses, Services: services, LocalBackends: r.LocalBackends, Challenges: r.Challenges.Of(key),
	}, err
}

// Of returns the Ingresses that concern the host of key and belong to its gateway.
func Of(ctx context.Context, objects index.Objects, key route.Key) ([]*networkingv1.Ingress, error) {
	classes, err := objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	all, err := objects.IngressesOfHost(ctx, key.Host)
	if err != nil {
		return nil, err
	}
	var ours []*networkingv1.Ingress
	for _, ingress := range all {
		if serves(classes, key.Gateway, ingress) {
			ours = append(ours, ingress)
		}
	}
	return ours, nil
}

func (r *Reconciler) services(
	ctx context.Context, host route.Hostname, ingresses []*networkingv1.Ingress,
) (map[types.NamespacedName]*corev1.Service, error) {
	services := map[types.NamespacedName]*corev1.Service{}
	for _, ingress := range ingresses {
		for _, name := range index.ServicesOf(ingress, host) {
			if _, known := services[name]; known {
				continue
			}
			service, err := r.Objects.Service(ctx, name)
			if err != nil {
				return nil, err
			}
			if service != nil {
				services[name] = service
			}
		}
	}
	return services, nil
}
