package policies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/controllers/node/speaker"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// ClusterKey is the name of a ClusterNetworkPolicy.
type ClusterKey string

// ClusterPublisher takes what ClusterNetworkPolicies say. An *enforce.Enforcer is one.
type ClusterPublisher interface {
	PublishCluster(name string, p *policy.ClusterPolicy)
}

// Cluster tells of ClusterNetworkPolicies while the cluster has their definition.
type Cluster struct {
	*Objects

	API       discovery.DiscoveryInterface
	Informers cache.Informers
	Policies  ClusterPublisher
	Log       logr.Logger

	watched schema.GroupVersionKind // zero: none

	mu    sync.Mutex
	names map[string]bool // that were told
}

// interval is how often it is asked whether the definition is there.
const interval = 30 * time.Second

// Run follows the definition until ctx ends. It calls begun once all policies that there are were told, or
// there is no definition.
func (c *Cluster) Run(ctx context.Context, begun func()) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for known := false; ; {
		if err := c.look(ctx); err == nil {
			if !known {
				begun()
				ticker.Reset(interval)
			}
			known = true
		} else if ctx.Err() == nil {
			c.Log.V(1).Info("it is not known whether the cluster has ClusterNetworkPolicies", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look begins to watch, or ends it.
func (c *Cluster) look(ctx context.Context) error {
	kind, err := c.served()
	if err != nil || kind == c.watched {
		return err
	}
	if !c.watched.Empty() {
		if err := c.Informers.RemoveInformer(ctx, object(c.watched)); err != nil {
			return fmt.Errorf("end the watch of ClusterNetworkPolicies: %w", err)
		}
		for _, name := range c.told() {
			c.tell(ctx, name, nil)
		}
		c.watched = schema.GroupVersionKind{}
	}
	if kind.Empty() {
		return nil
	}
	c.Log.Info("the cluster has ClusterNetworkPolicies", "version", kind.Version)
	informer, err := c.Informers.GetInformer(ctx, object(kind)) // waits until it has all
	if err != nil {
		return fmt.Errorf("watch ClusterNetworkPolicies: %w", err)
	}
	handle, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.changed(ctx, o) },
		UpdateFunc: func(_, o any) { c.changed(ctx, o) },
		DeleteFunc: func(o any) { c.deleted(ctx, o) },
	})
	if err != nil {
		return fmt.Errorf("watch ClusterNetworkPolicies: %w", err)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), handle.HasSynced) {
		return errors.New("watch ClusterNetworkPolicies: ended before all were read")
	}
	c.watched = kind
	return nil
}

func object(kind schema.GroupVersionKind) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	return o
}

// served is the best version that the API server has; zero: none.
func (c *Cluster) served() (schema.GroupVersionKind, error) {
	groups, err := c.API.ServerGroups()
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("ask which groups the API server has: %w", err)
	}
	has := map[string]bool{}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			has[v.GroupVersion] = true
		}
	}
	for _, kind := range policy.ClusterKinds() {
		if !has[kind.GroupVersion().String()] {
			continue
		}
		resources, err := c.API.ServerResourcesForGroupVersion(kind.GroupVersion().String())
		if err != nil {
			return schema.GroupVersionKind{}, fmt.Errorf("ask what group %s has: %w", kind.GroupVersion(), err)
		}
		for _, r := range resources.APIResources {
			if r.Kind == kind.Kind {
				return kind, nil
			}
		}
	}
	return schema.GroupVersionKind{}, nil
}

func (c *Cluster) changed(ctx context.Context, o any) {
	object, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	var np policyv1.ClusterNetworkPolicy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &np); err != nil {
		c.Log.Error(err, "read a ClusterNetworkPolicy", "name", object.GetName()) // the API server has checked it
		return
	}
	c.tell(ctx, np.Name, &np)
}

func (c *Cluster) deleted(ctx context.Context, o any) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	if object, ok := o.(*unstructured.Unstructured); ok {
		c.tell(ctx, object.GetName(), nil)
	}
}

// tell hands over what a policy says; nil: there is none of that name.
func (c *Cluster) tell(ctx context.Context, name string, np *policyv1.ClusterNetworkPolicy) {
	if np == nil {
		c.note(name, false)
		c.Policies.PublishCluster(name, nil)
		c.Reporter.Report(ctx, ClusterKey(name), nil)
		return
	}
	c.note(name, true)
	parsed, problems := policy.ParseCluster(np)
	c.Policies.PublishCluster(name, parsed)
	var nodes corev1.NodeList
	if err := c.Cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err == nil && !speaker.Speaks(c.Node, nodes.Items, types.NamespacedName{Name: name}) {
		problems = nil // each node finds them, and one tells
	}
	c.Reporter.Report(ctx, ClusterKey(name), problems)
}

func (c *Cluster) note(name string, there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !there {
		delete(c.names, name)
		return
	}
	if c.names == nil {
		c.names = map[string]bool{}
	}
	c.names[name] = true
}

func (c *Cluster) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.names))
}
