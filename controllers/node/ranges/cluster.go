package ranges

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Annotation has the ledger, on a Lease of its own: that of the election changes every few
// seconds.
const Annotation = "fairway.dev/ranges"

// What the leader may ask of the API server. Each patch goes to all agents: 5,000 Nodes have
// their ranges after a minute.
const (
	qps   = 100
	burst = 200
	// patience is how long one request may take.
	patience = 10 * time.Second
	// longest is how long one page of a list may take.
	longest = 30 * time.Second
	// page is how many Nodes one request lists: a Node may have tens of kilobytes.
	page = 250
)

// Cluster is the API server, asked directly: a cache may be late.
type Cluster interface {
	// Nodes are all Nodes as they are now.
	Nodes(context.Context) ([]Node, error)
	// Give writes the ranges of a promise on the Node of a name, if it has the promise's UID
	// and no ranges.
	Give(ctx context.Context, name string, p Promise) error
	// Read returns the ledger and its version; the version of one that is not there is the
	// zero value.
	Read(context.Context) (Ledger, Version, error)
	// Write replaces a version of the ledger and returns the new one. The error is errMoved
	// if the version is old.
	Write(ctx context.Context, l Ledger, at Version) (Version, error)
}

// Version is of a ledger. It has the UID, because an API server takes an update of a Lease
// that is gone for a new Lease.
type Version struct {
	UID      types.UID
	Resource string // its resourceVersion
}

// API is the Cluster behind a configuration.
type API struct {
	nodes  corev1.NodeInterface
	leases coordinationv1.LeaseInterface
	ledger string
	holder string
}

// NewAPI makes an API with a rate limit of its own. The ledger is on the Lease of a name;
// holder is who writes it, for people.
func NewAPI(config *rest.Config, ledger types.NamespacedName, holder string) (*API, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.RateLimiter, config.Timeout = qps, burst, nil, longest
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	core, err := corev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	leases, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &API{nodes: core.Nodes(), leases: leases.Leases(ledger.Namespace), ledger: ledger.Name, holder: holder}, nil
}

// Nodes implements Cluster.
func (a *API) Nodes(ctx context.Context) ([]Node, error) {
	var all []Node
	for options := (metav1.ListOptions{Limit: page}); ; {
		list, err := a.nodes.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		for i := range list.Items {
			all = append(all, nodeOf(&list.Items[i]))
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// Give implements Cluster. The UID in the patch is compared by the API server.
func (a *API) Give(ctx context.Context, name string, p Promise) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"spec":     map[string]any{"podCIDR": p.Ranges[0], "podCIDRs": p.Ranges},
	})
	if err != nil {
		return err
	}
	_, err = a.nodes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// Read implements Cluster.
func (a *API) Read(ctx context.Context) (Ledger, Version, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lease, err := a.leases.Get(ctx, a.ledger, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Ledger{}, Version{}, nil
	}
	if err != nil {
		return Ledger{}, Version{}, fmt.Errorf("read the ledger of ranges: %w", err)
	}
	ledger, err := readLedger(lease.Annotations[Annotation])
	return ledger, Version{lease.UID, lease.ResourceVersion}, err
}

// Write implements Cluster.
func (a *API) Write(ctx context.Context, l Ledger, at Version) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := l.text()
	if err != nil {
		return Version{}, err
	}
	lease := &coordination.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: a.ledger, UID: at.UID, ResourceVersion: at.Resource, Annotations: map[string]string{Annotation: text}},
		Spec:       coordination.LeaseSpec{HolderIdentity: &a.holder},
	}
	if at == (Version{}) {
		lease, err = a.leases.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		lease, err = a.leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return Version{}, errMoved
	case err != nil:
		return Version{}, fmt.Errorf("write the ledger of ranges: %w", err)
	}
	return Version{lease.UID, lease.ResourceVersion}, nil
}
