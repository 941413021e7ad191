package gatewayconfig

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// maxMessage bounds the length of a condition's message.
	maxMessage = 4096
	// A condition that could not be written is tried again after firstRetry, then
	// after twice that, up to lastRetry.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Conditions writes on each configuration whether it is accepted. It is a task of
// the leader: on other replicas Run does not run, and it does nothing. It decides
// nothing: what it writes follows from the objects alone.
type Conditions struct {
	Objects index.Objects
	Base    route.Settings
	Writer  client.StatusClient
	Manager fieldmanager.Status // by which we own what we write
	Log     logr.Logger
	// Now is the clock, time.Now by default.
	Now func() time.Time

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[route.Gateway] // nil: Run does not run
}

// Touch says that the condition of the gateway's configuration may have changed.
// It does nothing on a nil Conditions.
func (c *Conditions) Touch(gateway route.Gateway) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue != nil {
		c.queue.Add(gateway)
	}
}

// Run writes all conditions, and then those that are touched, until ctx ends.
func (c *Conditions) Run(ctx context.Context) error {
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[route.Gateway](firstRetry, lastRetry))
	defer queue.ShutDown()
	defer context.AfterFunc(ctx, queue.ShutDown)()
	c.use(queue)
	defer c.use(nil)
	configs, err := c.Objects.Configs(ctx)
	if err != nil {
		return err
	}
	for gateway := range configs {
		queue.Add(gateway)
	}
	for c.work(ctx, queue) {
	}
	return nil
}

func (c *Conditions) use(queue workqueue.TypedRateLimitingInterface[route.Gateway]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = queue
}

// work writes the next condition. It reports whether there may be another.
func (c *Conditions) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[route.Gateway]) bool {
	gateway, over := queue.Get()
	if over {
		return false
	}
	defer queue.Done(gateway)
	if err := c.write(ctx, gateway); err != nil {
		if ctx.Err() == nil {
			c.Log.Error(err, "cannot write the condition of a gateway's configuration", "gateway", gateway)
		}
		queue.AddRateLimited(gateway)
		return true
	}
	queue.Forget(gateway)
	return true
}

// write brings the condition of the gateway's configuration up to date.
func (c *Conditions) write(ctx context.Context, gateway route.Gateway) error {
	configs, err := c.Objects.Configs(ctx)
	if err != nil {
		return err
	}
	config, exists := configs[gateway]
	if !exists {
		return nil
	}
	named, err := c.Objects.ClassesOfGateway(ctx, gateway)
	if err != nil {
		return err
	}
	if speaks, err := c.Objects.SpeaksFor(ctx, gateway); err != nil || !speaks {
		return errors.Join(err, c.withdraw(ctx, gateway.Config(), config))
	}
	_, problems := route.BuildSettings(c.Base, gateway.Config(), config.Spec)
	want := conditionOf(gateway, len(named) > 0 || gateway == route.DefaultGateway, problems)
	want.ObservedGeneration = config.GetGeneration()
	want.LastTransitionTime = metav1.NewTime(c.now())
	conditions := append([]metav1.Condition(nil), config.Status.Conditions...)
	if !meta.SetStatusCondition(&conditions, want) {
		return nil
	}
	return c.apply(ctx, gateway.Config(), meta.FindStatusCondition(conditions, want.Type))
}

// conditionOf returns the condition Accepted, with each mistake and its field.
func conditionOf(gateway route.Gateway, named bool, problems []problem.Problem) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue}
	switch {
	case len(problems) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonInvalid
		var lines []string
		for _, p := range problems {
			lines = append(lines, p.Field+": "+p.Message)
		}
		condition.Message = "The last settings without mistakes stay in force. " + strings.Join(lines, "; ")
		if len(condition.Message) > maxMessage {
			condition.Message = strings.ToValidUTF8(condition.Message[:maxMessage-len("…")], "") + "…"
		}
	case !named:
		condition.Reason = v1alpha1.ReasonUnused
		condition.Message = "No IngressClass of Fairway's names it in spec.parameters."
	default:
		condition.Reason = v1alpha1.ReasonAccepted
		condition.Message = fmt.Sprintf("These are the settings of gateway %q.", gateway)
	}
	return condition
}

// withdraw removes a condition that we have written: another installation writes it
// from now on.
func (c *Conditions) withdraw(ctx context.Context, name problem.Object, config index.Config) error {
	if !c.Manager.Owns(config) {
		return nil
	}
	return c.applyStatus(ctx, name, map[string]any{}) // with a status we would own something, even if that is empty
}

// apply writes the one condition.
func (c *Conditions) apply(ctx context.Context, config problem.Object, condition *metav1.Condition) error {
	return c.applyStatus(ctx, config, map[string]any{
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": condition.Type, "status": string(condition.Status), "reason": condition.Reason,
			"message": condition.Message, "observedGeneration": condition.ObservedGeneration,
			"lastTransitionTime": condition.LastTransitionTime.UTC().Format(time.RFC3339),
		}}},
	})
}

// applyStatus applies a status by server-side apply. It ignores an object that is
// gone.
func (c *Conditions) applyStatus(ctx context.Context, config problem.Object, content map[string]any) error {
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion().WithKind(config.Kind))
	object.SetNamespace(config.Name.Namespace)
	object.SetName(config.Name.Name)
	err := c.Writer.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
		client.FieldOwner(string(c.Manager)), client.ForceOwnership)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("apply status of %s: %w", config, err)
	}
	return nil
}

func (c *Conditions) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
