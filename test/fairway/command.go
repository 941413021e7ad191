package fairway

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Said is the output of a command, and its exit code.
type Said struct {
	Out, Err string
	Code     int
}

// Fairway runs the fairway command to its end, as the given user of the cluster.
func (r *Installation) Fairway(t testing.TB, user *rest.Config, args ...string) Said {
	t.Helper()
	path, err := r.Cluster.WriteKubeconfig(user)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, build(t), append(args, "--kubeconfig", path)...)
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	var ended *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &ended) {
		t.Fatalf("fairway %v: %v", args, err)
	}
	return Said{out.String(), complaint.String(), command.ProcessState.ExitCode()}
}
