package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/test/binary"
	"github.com/fairwaynet/fairway/test/netns"
)

// program builds the plugin, once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fairway-cni-")
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "fairway-cni")
	return to, binary.Build(context.Background(), to, "cmd/fairway-cni", []string{"CGO_ENABLED=0"}, "-ldflags", "-s -w")
})

// node is a machine's folders, as its agent leaves them; the machine is this namespace.
type node struct {
	plugin, state, run string
	agent.Node
}

func newNode(t testing.TB, ranges ...string) *node {
	t.Helper()
	plugin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	boot, err := agent.Boot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := &node{
		plugin: plugin, state: filepath.Join(dir, "state"), run: filepath.Join(dir, "run"),
		Node: agent.Node{Boot: boot, MTU: 1450},
	}
	n.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	var own *netns.Namespace
	own.Give(t, "lo", "192.0.2.1/32", "2001:db8::1/128")
	for _, prefix := range ranges {
		n.Ranges = append(n.Ranges, netip.MustParsePrefix(prefix))
	}
	n.write(t)
	t.Cleanup(func() {
		if left := n.left(t); left != "" {
			t.Errorf("the test leaves behind:\n%s", left)
		}
	})
	return n
}

// write tells the plugin what holds on the node.
func (n *node) write(t testing.TB) {
	t.Helper()
	if err := n.Write(n.run); err != nil {
		t.Fatal(err)
	}
}

// left lists the interfaces, routes and leases that are of pods.
func (n *node) left(t testing.TB) string {
	t.Helper()
	var left []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range links {
		if each.Attrs().Name != "lo" {
			left = append(left, "interface "+each.Attrs().Name)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: 0x66}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range routes {
		left = append(left, "route "+route.String())
	}
	err = filepath.WalkDir(n.state, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !isHint(entry.Name()) {
			left = append(left, "file "+path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(left, "\n")
}

// call is an execution of the plugin.
type call struct {
	verb, container, netns, device, args string
	// version and more are of the configuration: more is further JSON, such as
	// `"runtimeConfig": {}`.
	version, more string
}

// sandbox is a pod's namespace and the call that adds it.
type sandbox struct {
	*netns.Namespace
	call
}

func newSandbox(t testing.TB, container string) sandbox {
	t.Helper()
	namespace := netns.New(t)
	return sandbox{namespace, call{container: container, netns: namespace.Path}}
}

func (c call) as(verb string) call { c.verb = verb; return c }

// command is the plugin as the runtime starts it.
func (n *node) command(ctx context.Context, c call) *exec.Cmd {
	cmd := exec.CommandContext(ctx, n.plugin)
	device, version := c.device, c.version
	if device == "" {
		device = "eth0"
	}
	if version == "" {
		version = "1.1.0"
	}
	cmd.Env = []string{
		"CNI_COMMAND=" + c.verb, "CNI_CONTAINERID=" + c.container, "CNI_NETNS=" + c.netns, "CNI_IFNAME=" + device,
		"CNI_ARGS=" + c.args, "CNI_PATH=" + filepath.Dir(n.plugin),
	}
	config := fmt.Sprintf(`{"cniVersion": %q, "name": "fairway", "type": "fairway-cni", "stateDir": %q, "runDir": %q`, version, n.state, n.run)
	if c.more != "" {
		config += ", " + c.more
	}
	cmd.Stdin = strings.NewReader(config + "}")
	return cmd
}

// try runs the plugin, and returns what it prints, or its error.
func (n *node) try(t testing.TB, c call) ([]byte, *types.Error) {
	t.Helper()
	cmd := n.command(t.Context(), c)
	var said, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &problems
	if err := cmd.Run(); err != nil {
		failed := &types.Error{}
		if json.Unmarshal(said.Bytes(), failed) != nil || failed.Msg == "" {
			t.Fatalf("%s: %v: it says %q, %q, which is no error of the specification", c.verb, err, &said, &problems)
		}
		return nil, failed
	}
	return said.Bytes(), nil
}

// must runs the plugin, which has to succeed.
func (n *node) must(t testing.TB, c call) []byte {
	t.Helper()
	said, failed := n.try(t, c)
	if failed != nil {
		t.Fatalf("%s %s: %v", c.verb, c.container, failed)
	}
	return said
}

// add adds a sandbox to the network, and returns its addresses.
func (n *node) add(t testing.TB, s sandbox) []netip.Addr {
	t.Helper()
	return addressesIn(t, n.must(t, s.as("ADD")))
}

func addressesIn(t testing.TB, said []byte) []netip.Addr {
	t.Helper()
	result := &current.Result{}
	if err := json.Unmarshal(said, result); err != nil {
		t.Fatalf("%v in %s", err, said)
	}
	var addresses []netip.Addr
	for _, ip := range result.IPs {
		address, _ := netip.AddrFromSlice(ip.Address.IP)
		addresses = append(addresses, address.Unmap())
	}
	return addresses
}

// refused runs the plugin, which has to fail with a code and a text, and to leave nothing.
func (n *node) refused(t testing.TB, c call, code uint, says string) {
	t.Helper()
	before := n.left(t)
	_, failed := n.try(t, c)
	if failed == nil {
		t.Errorf("%s succeeds, and should say %q", c.verb, says)
		return
	}
	if failed.Code != code || !strings.Contains(failed.Error(), says) {
		t.Errorf("%s fails with code %d: %s\nwant code %d and %q", c.verb, failed.Code, failed, code, says)
	}
	if after := n.left(t); after != before {
		t.Errorf("%s that failed leaves\n%s\nbefore it there was\n%s", c.verb, after, before)
	}
}

// isHint says that a file takes no address: its name begins with a dot.
func isHint(name string) bool { return strings.HasPrefix(name, ".") }
