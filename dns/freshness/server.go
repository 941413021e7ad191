package freshness

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/fairwaynet/fairway/dns/report"
)

// server is the API server.
type server interface {
	// Count is how many objects of a resource there are, and the version of that answer.
	Count(ctx context.Context, resource string) (number int64, version uint64, err error)
	// Versions are those of all objects of a resource.
	Versions(ctx context.Context, resource string) (versions, error)
}

var kinds = map[string]schema.GroupVersionResource{
	services:       {Version: "v1", Resource: services},
	namespaces:     {Version: "v1", Resource: namespaces},
	endpointSlices: {Group: "discovery.k8s.io", Version: "v1", Resource: endpointSlices},
}

type apiServer struct{ client metadata.Interface }

func newServer(kubeconfig string) (server, error) {
	config, err := report.Config(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	client, err := metadata.NewForConfig(config)
	return apiServer{client}, err
}

// Count reads one object: an answer that names no version to read at is not older than the question.
func (s apiServer) Count(ctx context.Context, resource string) (int64, uint64, error) {
	list, err := s.client.Resource(kinds[resource]).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, 0, fmt.Errorf("count %s: %w", resource, err)
	}
	total := int64(len(list.Items))
	if list.Continue != "" {
		if list.RemainingItemCount == nil {
			return -1, number(list.ResourceVersion), nil
		}
		total += *list.RemainingItemCount
	}
	return total, number(list.ResourceVersion), nil
}

// page is how many objects are read at once.
const page = 500

func (s apiServer) Versions(ctx context.Context, resource string) (versions, error) {
	all := versions{}
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := s.client.Resource(kinds[resource]).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", resource, err)
		}
		for _, item := range list.Items {
			all[name{item.Namespace, item.Name}] = item.ResourceVersion
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return all, nil
		}
	}
}
