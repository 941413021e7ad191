package customresources

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

const (
	// While something is missing, the cluster is looked at after soon to twice that.
	// When nothing is, after seldom to twice that: nobody takes fields away.
	soon   = 20 * time.Second
	seldom = time.Hour
	// What is missing counts when a second look, after again to twice that, finds the
	// same: an API server publishes a new definition some seconds after it takes it.
	again = 5 * time.Second
	// patience bounds one look.
	patience = 10 * time.Second
	// most is how many missing fields a text names.
	most = 10
)

// Look returns what a cluster lacks of our custom resources as this version knows
// them. With none of the kinds, it returns installed false: that is a choice.
func Look(ctx context.Context, published func(context.Context) ([]byte, error)) (missing []string, installed bool, err error) {
	known, err := Known()
	if err != nil {
		return nil, false, err
	}
	document, err := published(ctx)
	if apierrors.IsNotFound(err) {
		return Missing(known, nil), false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("ask what the cluster has of custom resources: %w", err)
	}
	has, err := Published(document)
	if err != nil {
		return nil, false, err
	}
	return Missing(known, has), len(has) > 0, nil
}

// Document returns a function that reads what the API server publishes of our custom
// resources, as OpenAPI v3.
func Document(config *rest.Config) (func(context.Context) ([]byte, error), error) {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	path := "/openapi/v3/apis/" + v1alpha1.SchemeGroupVersion().String()
	return func(ctx context.Context) ([]byte, error) {
		return client.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	}, nil
}

// Text says what is missing, and what to do; empty: nothing is.
func Text(missing []string) string {
	if len(missing) == 0 {
		return ""
	}
	named := missing[:min(len(missing), most)]
	more := ""
	if len(missing) > most {
		more = fmt.Sprintf(" and %d more", len(missing)-most)
	}
	return "the cluster's custom resources are older than this version, and lack " + strings.Join(named, ", ") + more +
		": what they would say does not count. Apply the CustomResourceDefinitions of this version (config/crd)"
}

// Checker looks again and again what the cluster lacks. It is a prometheus.Collector.
type Checker struct {
	// Published reads what the API server publishes. See Document.
	Published func(context.Context) ([]byte, error)
	Log       logr.Logger

	seen []string // missing at the last look

	mu      sync.Mutex
	missing []string // at the last two looks
}

// Run looks until ctx ends.
func (c *Checker) Run(ctx context.Context) error {
	for {
		wait := c.check(ctx)
		timer := time.NewTimer(wait + rand.N(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// check looks once, and returns when to look again.
func (c *Checker) check(ctx context.Context) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	missing, installed, err := Look(ctx, c.Published)
	if err != nil {
		c.Log.V(1).Info("cannot tell whether the cluster's custom resources are as new as this controller", "cause", err.Error())
		return soon
	}
	return c.note(missing, installed)
}

// note takes what a look has found.
func (c *Checker) note(missing []string, installed bool) (wait time.Duration) {
	wait = seldom
	if len(missing) > 0 {
		wait = soon
	}
	if !installed {
		missing = nil
	}
	before := c.seen
	c.seen = missing
	if len(missing) > 0 && !slices.Equal(before, missing) {
		return again
	}
	c.tell(missing, installed)
	return wait
}

// tell notes what is missing, and logs it if that has changed.
func (c *Checker) tell(missing []string, installed bool) {
	c.mu.Lock()
	before := c.missing
	c.missing = missing
	c.mu.Unlock()
	switch {
	case slices.Equal(before, missing):
	case len(missing) > 0:
		c.Log.Error(nil, "the cluster's custom resources are older than this version: what missing kinds and fields would say does not count; "+
			"apply the CustomResourceDefinitions of this version", "missing", strings.Join(missing[:min(len(missing), most)], ", "), "count", len(missing))
	case installed:
		c.Log.Info("the cluster's custom resources have all that this version knows")
	}
}

// Detail says what is missing, for people; empty: nothing is, or that is not known.
func (c *Checker) Detail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Text(c.missing)
}

// Describe implements prometheus.Collector.
func (c *Checker) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- missingFields() }

// Collect implements prometheus.Collector.
func (c *Checker) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	n := len(c.missing)
	c.mu.Unlock()
	metrics <- prometheus.MustNewConstMetric(missingFields(), prometheus.GaugeValue, float64(n))
}

func missingFields() *prometheus.Desc {
	return prometheus.NewDesc("fairway_custom_resource_fields_missing",
		"Kinds and fields that this version knows and that the cluster's CustomResourceDefinitions lack.", nil, nil)
}
