package lab

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/tools"
)

// fairwayValues are the values of the chart for a lab: images that the nodes have, and
// ports of the nodes, because a lab has no load balancer. They are in the lab's folder
// beside the images.
//
//go:embed fairway.yaml
var fairwayValues []byte

// FairwayPort is the port of every node on which the gateways answer HTTP. HTTPS has the
// port that ends with 443.
const FairwayPort = 30080

// installFairway installs the chart of this tree, and waits until it runs.
func (l *Lab) installFairway(ctx context.Context) error {
	began := time.Now()
	if _, err := l.TryHelm(ctx, "helm4", "install", "fairway", l.Chart(), "--values", l.path("fairway.yaml"),
		"--namespace", "fairway-system", "--create-namespace", "--wait", "--timeout", l.Options.Patience.String()); err != nil {
		return err
	}
	l.say("Fairway: installed by Helm in %.1f s", time.Since(began).Seconds())
	return nil
}

// Chart is the folder of the chart in this tree.
func (l *Lab) Chart() string {
	root, err := tools.Root()
	if err != nil {
		return "charts/fairway"
	}
	return filepath.Join(root, "charts", "fairway")
}

// Helm runs a real Helm ("helm3" or "helm4") as the administrator, and returns what it
// printed. The test fails when Helm does.
func (l *Lab) Helm(t testing.TB, program string, args ...string) string {
	t.Helper()
	printed, err := l.TryHelm(t.Context(), program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// TryHelm is Helm for commands that may fail. The error holds Helm's error output.
func (l *Lab) TryHelm(ctx context.Context, program string, args ...string) (string, error) {
	path, err := tools.Find(program)
	if err != nil {
		return "", err
	}
	home := l.path("helm")
	command := exec.CommandContext(ctx, path, append(args, "--kubeconfig", l.Kubeconfig)...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	var printed, complaint bytes.Buffer
	command.Stdout, command.Stderr = &printed, &complaint
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return printed.String(), fmt.Errorf("%s %v: %w\n%s%s", program, args, err, &printed, &complaint)
	}
	return printed.String(), nil
}
