package replica

import (
	"fmt"
	"net"
	"time"

	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

// NewClient returns a client for Leases. It has a connection of its own that can be dropped. If the connection
// dies silently, the Lease must be renewed over another one.
func NewClient(config *rest.Config) (*coordinationv1.CoordinationV1Client, *connrotation.Dialer, error) {
	config = rest.CopyConfig(config)
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: 2 * time.Second}).DialContext)
	config.Dial = dialer.DialContext
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return client, dialer, nil
}
