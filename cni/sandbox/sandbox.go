// Package sandbox asks the container runtime of a node which pods it has (CRI).
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// patience is how long the runtime may take to answer.
const patience = 10 * time.Second

// maxAnswer bounds the list, in bytes. A sandbox with its labels and annotations has a few
// KiB; annotations of a pod may have 256 KiB.
const maxAnswer = 128 << 20

// Runtime is the container runtime.
type Runtime struct {
	// Endpoint is where it listens, such as unix:///run/containerd/containerd.sock.
	Endpoint string
}

// List returns the container IDs of all sandboxes that the runtime knows, whatever their
// state. It does not list a sandbox during its ADD.
func (r Runtime) List(ctx context.Context) (_ map[string]bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask the container runtime at %s for its pods: %w", r.Endpoint, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	connection, err := grpc.NewClient(r.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	answer, err := cri.NewRuntimeServiceClient(connection).ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	all := make(map[string]bool, len(answer.GetItems()))
	for _, sandbox := range answer.GetItems() {
		all[sandbox.GetId()] = true
	}
	return all, nil
}
