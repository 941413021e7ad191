package cni

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/test/binary"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/tools"
)

// contender is a plugin and its configuration.
type contender struct {
	name    string
	program string
	config  string
	node    *netns.Namespace // where it runs; nil: here

	rounds []round
}

// contenders are the plugins that are measured, ours last.
func contenders(b *testing.B) []*contender {
	b.Helper()
	return []*contender{
		bridge(b, "bridge + host-local", "10.11.0.0/24", 1450),
		{name: "ptp + host-local", program: tools.Path(b, "cni/ptp"), config: fmt.Sprintf(
			`{"cniVersion": "1.0.0", "name": "ptp", "type": "ptp", "mtu": 1450, "ipam": %s}`, hostLocal(b, "10.12.0.0/24"))},
		ours(b, "fairway-cni, both families", agent.Node{MTU: 1450}, "10.14.0.0/24", "fd00:14::/64"),
		ours(b, "fairway-cni", agent.Node{MTU: 1450}, "10.13.0.0/24"),
	}
}

// bridge is the bridge plugin as network daemons configure it: the bridge is the pods'
// gateway, and masquerade is the daemon's business.
func bridge(b *testing.B, name, pods string, mtu int) *contender {
	b.Helper()
	return &contender{name: name, program: tools.Path(b, "cni/bridge"), config: fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "bridge", "type": "bridge",
		"bridge": "bridge", "isGateway": true, "hairpinMode": true, "mtu": %d, "ipam": %s}`, mtu, hostLocal(b, pods))}
}

// hostLocal is the configuration of the reference address management.
func hostLocal(b *testing.B, pods string) string {
	b.Helper()
	return fmt.Sprintf(`{"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}`, b.TempDir(), pods)
}

// ours is the plugin as it ships, on a node whose agent has completed its start: its pods
// need nothing of the agent itself.
func ours(b *testing.B, name string, node agent.Node, ranges ...string) *contender {
	b.Helper()
	boot, err := agent.Boot()
	if err != nil {
		b.Fatal(err)
	}
	node.Boot = boot
	for _, pods := range ranges {
		node.Ranges = append(node.Ranges, netip.MustParsePrefix(pods))
	}
	dir := b.TempDir()
	if err := node.Write(filepath.Join(dir, "run")); err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(dir, "fairway-cni")
	if err := binary.Build(b.Context(), program, "cmd/fairway-cni", []string{"CGO_ENABLED=0"}, "-trimpath", "-ldflags", "-s -w"); err != nil {
		b.Fatal(err)
	}
	return &contender{name: name, program: program, config: fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "fairway", "type": "fairway-cni", "stateDir": %q, "runDir": %q}`,
		filepath.Join(dir, "state"), filepath.Join(dir, "run"))}
}

// command runs the plugin for a pod, as a container runtime does.
func (c *contender) command(ctx context.Context, verb, container string, pod *netns.Namespace) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program)
	cmd.Env = []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + container, "CNI_NETNS=" + pod.Path, "CNI_IFNAME=eth0",
		"CNI_PATH=" + filepath.Dir(c.program), "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
	}
	cmd.Stdin = strings.NewReader(c.config)
	return cmd
}

// run runs the plugin, which has to succeed.
func (c *contender) run(ctx context.Context, verb, container string, pod *netns.Namespace) (*os.ProcessState, error) {
	cmd := c.command(ctx, verb, container, pod)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	var err error
	c.node.Do(func() { err = cmd.Start() })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s %s: %w: %s", c.name, verb, container, err, &said)
	}
	return cmd.ProcessState, nil
}
