package edge

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge/ingress"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// RejectedByEnvoy is the reason of the Problem on Ingresses whose host an Envoy
// refused. It is a bug of ours, but their owners must know.
const RejectedByEnvoy problem.Reason = "RejectedByEnvoy"

// What can be rejected, as the label of a metric.
const (
	rejectedHost        = "host"
	rejectedBackend     = "backend"
	rejectedSettings    = "settings"
	rejectedCertificate = "certificate"
)

// Delivery hears how Envoys took what was published: it is the server's Observer.
// It turns rejections into Problems, measures how long a change took, and passes
// events on.
type Delivery struct {
	Objects  index.Objects
	Reporter *report.Reporter
	// DefaultCertificate names the Secret of the default certificate; zero: none.
	DefaultCertificate types.NamespacedName
	Metrics            *Metrics // may be nil
	Log                logr.Logger
	// Served hears that a host (or its removal) is live. Rejected hears that an
	// Envoy refused a host. Envoys hears that Envoys of a gateway came, caught up
	// or left. Each may be nil, and must not block.
	Served   func(route.Key)
	Rejected func(route.Key)
	Envoys   func(route.Gateway)
	// Now is the clock, time.Now by default.
	Now func() time.Time

	mu      sync.Mutex
	started map[route.Key]time.Time // of changes that are not yet served
}

var _ server.Observer = (*Delivery)(nil)

// rejection is the Reporter's key of what an Envoy refused. It is apart from the
// key of what Build found wrong with the same host.
type rejection struct{ key route.Key }

// HostServed implements server.Observer.
func (d *Delivery) HostServed(key route.Key) {
	d.Reporter.Report(context.Background(), rejection{key}, nil)
	if start, ok := d.finish(key); ok {
		d.Metrics.served(d.now().Sub(start))
	}
	d.Log.V(1).Info("host is served", "gateway", key.Gateway, "host", key.Host)
	if d.Served != nil {
		d.Served(key)
	}
}

// HostRejected implements server.Observer.
func (d *Delivery) HostRejected(key route.Key, detail string) {
	d.finish(key)
	if d.Rejected != nil {
		defer d.Rejected(key)
	}
	d.Metrics.rejected(rejectedHost)
	d.Log.Error(nil, "envoy refused a host", "gateway", key.Gateway, "host", key.Host, "detail", detail)
	ctx := context.Background()
	problems, err := d.blame(ctx, key, detail)
	if err != nil {
		d.Log.Error(err, "cannot tell whose host it is", "gateway", key.Gateway, "host", key.Host)
		return
	}
	d.Reporter.Report(ctx, rejection{key}, problems)
}

// BackendRejected implements server.Observer.
func (d *Delivery) BackendRejected(port route.ServicePort, detail string) {
	d.Metrics.rejected(rejectedBackend)
	d.Log.Error(nil, "envoy refused endpoints; the last good ones stay", "port", port.String(), "detail", detail)
}

// SettingsRejected implements server.Observer.
func (d *Delivery) SettingsRejected(gateway route.Gateway, detail string) {
	d.Metrics.rejected(rejectedSettings)
	d.Log.Error(nil, "envoy refused a listener; the last good one stays", "gateway", gateway, "detail", detail)
}

// EnvoysChanged implements server.Observer.
func (d *Delivery) EnvoysChanged(gateway route.Gateway) {
	if d.Envoys != nil {
		d.Envoys(gateway)
	}
}

// blame returns the Problem on every Ingress of the host.
func (d *Delivery) blame(ctx context.Context, key route.Key, detail string) ([]problem.Problem, error) {
	ingresses, err := ingress.Of(ctx, d.Objects, key)
	if err != nil {
		return nil, err
	}
	var problems []problem.Problem
	for _, i := range ingresses {
		problems = append(problems, problem.Problem{
			Object: problem.Object{
				Kind: "Ingress",
				Name: types.NamespacedName{Namespace: i.Namespace, Name: i.Name},
			},
			Reason: RejectedByEnvoy,
			Message: fmt.Sprintf("Envoy refused host %q; its last good version is served, or 503 if it never had one. "+
				"This is a bug of Fairway's, please report it. Envoy says: %s", key.Host, detail),
		})
	}
	return problems, nil
}

// timed measures the time from the start of a host's reconciliation to HostServed.
func (d *Delivery) timed(
	hosts reconcile.TypedReconciler[route.Key], publisher ingress.Publisher,
) reconcile.TypedReconciler[route.Key] {
	return reconcile.TypedFunc[route.Key](func(ctx context.Context, key route.Key) (reconcile.Result, error) {
		before := publisher.Host(key)
		d.start(key)
		result, err := hosts.Reconcile(ctx, key)
		after := publisher.Host(key)
		if after.Served || after.NoEnvoys || !before.Published && !after.Published {
			// Nothing changed, or the host is served already, or no Envoy is there
			// to serve it. In the last case the time until one comes is no measure
			// of the change.
			d.finish(key)
		}
		if !after.Published { // a host that is withdrawn has no Ingress to blame
			d.Reporter.Report(ctx, rejection{key}, nil)
		}
		return result, err
	})
}

// start notes when the change of key began. If an earlier change is still under
// way, that one counts: what comes next serves both.
func (d *Delivery) start(key route.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started == nil {
		d.started = map[route.Key]time.Time{}
	}
	if _, ok := d.started[key]; !ok {
		d.started[key] = d.now()
	}
}

// finish forgets the change of key and returns when it began.
func (d *Delivery) finish(key route.Key) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	start, ok := d.started[key]
	delete(d.started, key)
	return start, ok
}

func (d *Delivery) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}
