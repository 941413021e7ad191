package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/tools"
)

// Kubectl runs the real kubectl as the administrator, with stdin as its input,
// and returns its output. The test fails if kubectl fails.
func (c *Cluster) Kubectl(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	printed, err := c.TryKubectl(stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// TryKubectl is Kubectl for commands that may fail. The error holds kubectl's
// error output.
func (c *Cluster) TryKubectl(stdin string, args ...string) (string, error) {
	path, err := tools.Find("kubectl")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	flags := []string{"--kubeconfig=" + c.Kubeconfig, "--cache-dir=" + c.path("kubectl")}
	cmd := exec.CommandContext(ctx, path, append(flags, args...)...)
	var printed, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &printed, &complaint
	cmd.WaitDelay = time.Second
	// It ends before it needs to collect garbage.
	cmd.Env = append(os.Environ(), "GOGC=off", "GOMEMLIMIT=400MiB")
	if err := cmd.Run(); err != nil {
		return printed.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, &complaint)
	}
	return printed.String(), nil
}
