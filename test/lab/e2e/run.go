package e2e

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/fairwaynet/fairway/test/lab"
	"github.com/fairwaynet/fairway/test/lab/machine"
)

// Run runs the tests whose names match focus, but not skip. They run on the lab's
// control machine, which can reach pods and Services.
func Run(ctx context.Context, l *lab.Lab, focus, skip string, processes int, out io.Writer) error {
	bin := func(name string) string { return filepath.Join(machine.BinDir, name) }
	command, err := l.Machine("control").Command(ctx, bin("ginkgo"),
		"--procs="+strconv.Itoa(processes), "--no-color", "--timeout=24h", "--focus="+focus, "--skip="+skip,
		bin("e2e.test"), "--",
		"--kubeconfig="+lab.AdminKubeconfig, "--provider=local", "--kubectl-path="+bin("kubectl"),
		"--node-os-distro=debian", "--disable-log-dump", "--allowed-not-ready-nodes=0")
	if err != nil {
		return err
	}
	command.Stdout, command.Stderr = out, out
	if err := command.Run(); err != nil {
		return fmt.Errorf("run the tests: %w", err)
	}
	return nil
}
