package plugin_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/tools"
)

// chain is the plugin with reference plugins after it, as a runtime calls them.
type chain struct {
	*node
	list   *libcni.NetworkConfigList
	config string // the file that has the list
	path   []string
}

// newChain makes a list of the plugin, tuning, bandwidth and portmap. The latter two do
// what a runtime asks for a pod, so ours is not asked.
func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{node: newNode(t, "10.244.1.0/24", "fd00:1::/64")}
	c.path = []string{filepath.Dir(c.plugin), filepath.Dir(tools.Path(t, "cni/portmap"))}
	for _, other := range []string{"cni/tuning", "cni/bandwidth"} {
		tools.Path(t, other)
	}
	c.config = filepath.Join(t.TempDir(), "10-fairway.conflist")
	text := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "fairway", "plugins": [
		{"type": "fairway-cni", "stateDir": %q, "runDir": %q},
		{"type": "tuning", "dataDir": %q, "sysctl": {"net.core.somaxconn": "77", "net.ipv4.conf.IFNAME.arp_filter": "1"}},
		{"type": "bandwidth", "capabilities": {"bandwidth": true}},
		{"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"}
	]}`, c.state, c.run, t.TempDir())
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.list, err = libcni.NetworkConfFromFile(c.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // portmap keeps its tables
		for _, family := range []string{"ip", "ip6"} {
			_ = exec.Command("nft", "delete", "table", family, "cni_hostport").Run() // not every test has both
		}
	})
	return c
}

// runtime is a container runtime with a memory of its own of what it has added.
func (c *chain) runtime(t *testing.T) *libcni.CNIConfig {
	t.Helper()
	return libcni.NewCNIConfigWithCacheDir(c.path, t.TempDir(), nil)
}

// requests are what the runtime asks for a pod.
var requests = map[string]any{
	"portMappings": []map[string]any{{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}},
	"bandwidth":    map[string]any{"ingressRate": 16_000_000, "ingressBurst": 1_600_000, "egressRate": 8_000_000, "egressBurst": 800_000},
}

// attachment is a pod as libcni wants it.
func attachment(s sandbox) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: s.container, NetNS: s.netns, IfName: "eth0", CapabilityArgs: requests}
}

// hostOf returns the name of the host's end.
func hostOf(t *testing.T, result types.Result) string {
	t.Helper()
	all, err := current.GetResult(result)
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range all.Interfaces {
		if device.Sandbox == "" && strings.HasPrefix(device.Name, "fw") {
			return device.Name
		}
	}
	t.Fatalf("no interface of the host in %v", result)
	return ""
}

// rates returns the rates of the token buckets of this namespace, in bits a second, by
// interface.
func rates(t *testing.T) map[string]uint64 {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, each := range links {
		queues, err := netlink.QdiscList(each)
		if err != nil {
			t.Fatal(err)
		}
		for _, queue := range queues {
			if bucket, ok := queue.(*netlink.Tbf); ok {
				found[each.Attrs().Name] = bucket.Rate * 8
			}
		}
	}
	return found
}

// setting reads a file below /proc/sys/net as the pod sees it.
func (s sandbox) setting(t *testing.T, path string) string {
	t.Helper()
	var text []byte
	var err error
	s.Do(func() { text, err = os.ReadFile("/proc/sys/net/" + path) })
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// listed is all that nft lists of the mapped ports.
func listed(t *testing.T) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, said)
	}
	return string(said)
}

// The reference plugins work after ours: a client outside reaches the pod by portmap's port
// and keeps its address, bandwidth limits the pod's wire in both directions, and tuning
// changes settings of the pod. Each verb of the specification goes through the whole list.
func TestReferencePluginsWorkAfterOurs(t *testing.T) {
	netns.Forward(t)
	c := newChain(t)
	client := netns.New(t)
	netns.Join(t, "uplink", nil, []string{"198.51.100.1/24", "2001:db8:1::1/64"}, client, []string{"198.51.100.2/24", "2001:db8:1::2/64"})
	ctx, runtime, pod := t.Context(), c.runtime(t), newSandbox(t, "chained")

	if err := runtime.GetStatusNetworkList(ctx, c.list); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	result, err := runtime.AddNetworkList(ctx, c.list, attachment(pod))
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	if err := runtime.CheckNetworkList(ctx, c.list, attachment(pod)); err != nil {
		t.Errorf("CHECK: %v", err)
	}

	pod.Answer(t, "[::]:8080")
	for to, want := range map[string]string{
		"198.51.100.1:18080": "198.51.100.2", "[2001:db8:1::1]:18080": "2001:db8:1::2",
	} {
		if said, err := client.Ask(t, to); err != nil || said != want {
			t.Errorf("at %s the pod sees %q, %v, not %s", to, said, err, want)
		}
	}
	found, host := rates(t), hostOf(t, result)
	if found[host] != 16_000_000 {
		t.Errorf("the pod may receive %d bit/s, not 16,000,000: %v", found[host], found)
	}
	delete(found, host)
	for device, rate := range found {
		if rate != 8_000_000 {
			t.Errorf("the pod may send %d bit/s through %s, not 8,000,000", rate, device)
		}
	}
	if len(found) != 1 {
		t.Errorf("what the pod sends has the token buckets %v, not one", found)
	}
	for path, want := range map[string]string{"core/somaxconn": "77", "ipv4/conf/eth0/arp_filter": "1"} {
		if got := pod.setting(t, path); got != want {
			t.Errorf("%s of the pod is %s, not %s", path, got, want)
		}
	}

	for range 2 { // twice is as good as once
		if err := runtime.DelNetworkList(ctx, c.list, attachment(pod)); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	if rules := listed(t); strings.Contains(rules, "18080") {
		t.Errorf("after DEL there is\n%s", rules)
	}
	if left := rates(t); len(left) > 0 {
		t.Errorf("after DEL there are the token buckets %v", left)
	}
	if _, err := client.Ask(t, "198.51.100.1:18080"); err == nil {
		t.Error("after DEL the port still answers")
	}
}

// CHECK goes through the list: what a plugin after ours has made is missed, and what ours has
// made.
func TestCheckGoesThroughTheList(t *testing.T) {
	c := newChain(t)
	ctx, runtime := t.Context(), c.runtime(t)
	for name, takeAway := range map[string]func(pod sandbox, host netlink.Link) error{
		"Tuning configured value": func(pod sandbox, _ netlink.Link) (err error) {
			pod.Do(func() { err = os.WriteFile("/proc/sys/net/core/somaxconn", []byte("78"), 0) })
			return err
		},
		"the pod has no default route": func(pod sandbox, _ netlink.Link) (err error) {
			pod.Do(func() { err = netlink.RouteDel(&netlink.Route{Gw: []byte{169, 254, 1, 1}}) })
			return err
		},
		"is down": func(_ sandbox, host netlink.Link) error { return netlink.LinkSetDown(host) },
	} {
		pod := newSandbox(t, "checked")
		result, err := runtime.AddNetworkList(ctx, c.list, attachment(pod))
		if err != nil {
			t.Fatalf("ADD: %v", err)
		}
		host, err := netlink.LinkByName(hostOf(t, result))
		if err == nil {
			err = takeAway(pod, host)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := runtime.CheckNetworkList(ctx, c.list, attachment(pod)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("CHECK says %v, not that %q", err, name)
		}
		if err := runtime.DelNetworkList(ctx, c.list, attachment(pod)); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
}

// GC through libcni takes away the pods that it does not name: those that the runtime
// remembers, by DEL of all plugins, and those that it has forgotten, by GC of ours.
func TestGarbageOfTheWholeList(t *testing.T) {
	c := newChain(t)
	ctx, runtime := t.Context(), c.runtime(t)
	kept, remembered, forgotten := newSandbox(t, "kept"), newSandbox(t, "remembered"), newSandbox(t, "forgotten")
	for i, pod := range []sandbox{kept, remembered, forgotten} {
		by := runtime
		if pod == forgotten {
			by = c.runtime(t)
		}
		config := attachment(pod)
		config.CapabilityArgs = map[string]any{
			"portMappings": []map[string]any{{"hostPort": 18080 + i, "containerPort": 8080, "protocol": "tcp"}},
		}
		if _, err := by.AddNetworkList(ctx, c.list, config); err != nil {
			t.Fatalf("ADD: %v", err)
		}
	}
	answered := kept.answers(t)
	valid := []types.GCAttachment{{ContainerID: "kept", IfName: "eth0"}}
	if err := runtime.GCNetworkList(ctx, c.list, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
		t.Errorf("GC: %v", err)
	}
	if err := answered(); err != nil {
		t.Error(err)
	}
	if left := c.left(t); !strings.Contains(left, "kept") || strings.Contains(left, "remembered") || strings.Contains(left, "forgotten") {
		t.Errorf("after GC there is\n%s", left)
	}
	if rules := listed(t); !strings.Contains(rules, "18080") || strings.Contains(rules, "18081") {
		t.Errorf("after GC nft lists\n%s", rules)
	}
	if err := runtime.GCNetworkList(ctx, c.list, &libcni.GCArgs{}); err != nil {
		t.Errorf("GC of all: %v", err)
	}
}

// cnitool drives the list, as the specification's authors do by hand. It remembers pods in
// /var/lib/cni, so it runs where a folder of the test is in place of /var/lib.
func TestCnitool(t *testing.T) {
	netns.Forward(t)
	c := newChain(t)
	pod := newSandbox(t, "")
	memory := t.TempDir()
	run := func(verb string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", `mount --bind "$1" /var/lib && shift && exec "$@"`, "sh", memory,
			tools.Path(t, "cnitool"), verb, "fairway", pod.netns)
		cmd.Env = append(os.Environ(), "NETCONFPATH="+filepath.Dir(c.config), "CNI_PATH="+strings.Join(c.path, string(filepath.ListSeparator)),
			`CAP_ARGS={"portMappings": [{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}]}`)
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("cnitool %s: %v: %s", verb, err, said)
		}
		return string(said)
	}
	run("status")
	if said := run("add"); !strings.Contains(said, `"address": "10.244.1.1/32"`) {
		t.Errorf("cnitool add says %s", said)
	}
	pod.Answer(t, "10.244.1.1:8080")
	var own *netns.Namespace
	if said, err := own.Ask(t, "127.0.0.1:18080"); err != nil || said == "" {
		t.Errorf("the port says %q, %v", said, err)
	}
	run("check")
	run("del")
	run("gc")
	if left := c.left(t); left != "" {
		t.Errorf("after del there is\n%s", left)
	}
}
