package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestAPodsLife(t *testing.T) {
	n := newNode(t, "10.244.1.0/24", "fd00:1::/64")
	pod := newSandbox(t, "c1")
	said := n.must(t, pod.as("ADD"))
	want := `{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "mac": "…",
            "mtu": 1450,
            "name": "fw…"
        },
        {
            "mac": "…",
            "mtu": 1450,
            "name": "eth0",
            "sandbox": "NETNS"
        }
    ],
    "ips": [
        {
            "address": "10.244.1.1/32",
            "gateway": "169.254.1.1",
            "interface": 1
        },
        {
            "address": "fd00:1::1/128",
            "gateway": "fe80::1",
            "interface": 1
        }
    ],
    "routes": [
        {
            "dst": "0.0.0.0/0",
            "gw": "169.254.1.1"
        },
        {
            "dst": "::/0",
            "gw": "fe80::1"
        }
    ]
}`
	got := regexp.MustCompile(`("name": "fw|"mac": ")[^"]*`).ReplaceAllString(strings.ReplaceAll(string(said), pod.netns, "NETNS"), "${1}…")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ADD answers (-want +got):\n%s", diff)
	}
	check := pod.as("CHECK")
	check.more = `"prevResult": ` + string(said)
	n.must(t, check)
	for range 2 {
		n.must(t, pod.as("DEL"))
	}
	n.refused(t, check, types.ErrUnknownContainer, "container c1 has no lease for eth0")
}

// Runtimes of every age are answered in their version of the specification.
func TestVersions(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	for version, has := range map[string]string{"0.4.0": `"version": "4"`, "1.0.0": `"sandbox"`, "1.1.0": `"mtu": 1450`} {
		pod := newSandbox(t, "c"+version)
		pod.version = version
		if said := n.must(t, pod.as("ADD")); !strings.Contains(string(said), has) || !strings.Contains(string(said), version) {
			t.Errorf("version %s: %s", version, said)
		}
		n.must(t, pod.as("DEL"))
	}
	for _, version := range []string{"0.3.1", "0.2.0", "9.0.0"} {
		n.refused(t, call{verb: "ADD", container: "c", netns: "/x", version: version}, types.ErrIncompatibleCNIVersion, "incompatible CNI versions")
	}
	said := n.must(t, call{verb: "VERSION"})
	if !strings.Contains(string(said), `"supportedVersions":["0.4.0","1.0.0","1.1.0"]`) {
		t.Errorf("VERSION: %s", said)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	n := newNode(t, "10.244.1.0/30")
	pod := newSandbox(t, "c1")
	with := func(more string) call { c := pod.as("ADD"); c.more = more; return c }
	in := func(path string) call { c := pod.as("ADD"); c.netns = path; return c }
	for _, test := range []struct {
		name string
		call
		code uint
		says string
	}{
		{"no namespace", in("/nonexistent"), types.ErrInvalidNetNS, "open /nonexistent: it is no network namespace: nothing is there"},
		{"another file", in("/dev/null"), types.ErrInvalidNetNS, "open /dev/null: it is no network namespace"},
		{"the node's own", in("/proc/self/ns/net"), types.ErrInvalidNetNS, "is the network namespace of the node itself"},
		{"no address", with(`"runtimeConfig": {"ips": ["10.244.1"]}`), types.ErrInvalidNetworkConfig, `runtimeConfig.ips: "10.244.1" is no address`},
		{"an address of others", with(`"runtimeConfig": {"ips": ["10.9.9.9"]}`), types.ErrInvalidNetworkConfig, "10.9.9.9"},
		{"no port", with(`"runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 80}]}`), types.ErrInvalidNetworkConfig, "runtimeConfig.portMappings[0].hostPort: 70000 is not possible"},
		{"no port of the pod", with(`"runtimeConfig": {"portMappings": [{"hostPort": 80}]}`), types.ErrInvalidNetworkConfig, "containerPort: 0 is not possible"},
		{"a protocol that is none", with(`"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]}`), types.ErrInvalidNetworkConfig, "protocol: icmp is not possible"},
		{"an address of the node that is none", with(`"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "hostIP": "x"}]}`), types.ErrInvalidNetworkConfig, "hostIP: x is not possible"},
		{"a result that is none", with(`"prevResult": {"cniVersion": "1.1.0", "ips": 5}`), types.ErrDecodingFailure, "read prevResult"},
		{"a configuration that is none", with(`"runtimeConfig": 5`), types.ErrDecodingFailure, "read the network configuration"},
	} {
		t.Run(test.name, func(t *testing.T) { n.refused(t, test.call, test.code, test.says) })
	}
	t.Run("no prevResult", func(t *testing.T) {
		n.refused(t, pod.as("CHECK"), types.ErrInvalidNetworkConfig, "CHECK needs prevResult")
	})
}

// No pod starts before the agent has completed its start since the boot.
func TestNothingStartsBeforeTheAgent(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	pod := newSandbox(t, "c1")
	n.must(t, call{verb: "STATUS"})
	old := n.Node
	old.Boot = "an earlier one"
	if err := old.Write(n.run); err != nil {
		t.Fatal(err)
	}
	n.refused(t, pod.as("ADD"), types.ErrTryAgainLater, "has not completed its start since the node booted: the file is of an earlier boot")
	if err := agent.Remove(n.run); err != nil {
		t.Fatal(err)
	}
	n.refused(t, pod.as("ADD"), types.ErrTryAgainLater, "has not completed its start since the node booted: there is no such file")
	n.refused(t, call{verb: "STATUS"}, types.ErrPluginNotAvailable, "has not completed its start")
	n.must(t, pod.as("DEL"))
}

// A range is used to its last address. Then ADD says so, and works again once a pod ends.
func TestAFullRange(t *testing.T) {
	n := newNode(t, "10.244.1.0/30")
	var pods []sandbox
	for i := range 3 {
		pods = append(pods, newSandbox(t, fmt.Sprint("c", i)))
		n.add(t, pods[i])
	}
	last := newSandbox(t, "last")
	n.refused(t, last.as("ADD"), types.ErrTryAgainLater, "10.244.1.0/30")
	n.must(t, call{verb: "STATUS"}) // other pods run, and those that end make room
	n.must(t, pods[1].as("DEL"))
	if got := n.add(t, last); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.244.1.2")}) {
		t.Errorf("the pod gets %v", got)
	}
	for _, pod := range append(pods, last) {
		n.must(t, pod.as("DEL"))
	}
}

func TestRequestedAddresses(t *testing.T) {
	n := newNode(t, "10.244.1.0/24", "fd00:1::/64")
	first, second := newSandbox(t, "first"), newSandbox(t, "second")
	first.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=1"
	first.more = `"runtimeConfig": {"ips": ["10.244.1.77/24", "fd00:1::77"]}`
	second.more = first.more
	want := []netip.Addr{netip.MustParseAddr("10.244.1.77"), netip.MustParseAddr("fd00:1::77")}
	if got := n.add(t, first); !slices.Equal(got, want) {
		t.Errorf("the pod gets %v", got)
	}
	n.refused(t, second.as("ADD"), types.ErrTryAgainLater, "shop/web-0")
	n.must(t, first.as("DEL"))
	if got := n.add(t, second); !slices.Equal(got, want) {
		t.Errorf("the second pod gets %v", got)
	}
	n.must(t, second.as("DEL"))
}

// The end of a sandbox, however late, does not touch its successor of the same pod name.
func TestALateEndIsOfItsOwnSandbox(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	old, young := newSandbox(t, "old"), newSandbox(t, "young")
	old.args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=1"
	young.args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=2"
	n.add(t, old)
	n.add(t, young)
	answered := young.answers(t)
	for _, path := range []string{old.netns, "", old.netns} {
		end := old.as("DEL")
		end.netns = path
		n.must(t, end)
		if err := answered(); err != nil {
			t.Errorf("after the end of the old sandbox in %q: %v", path, err)
		}
	}
	n.must(t, young.as("DEL"))
}

// answers listens at the pod's first address, and returns a function that asks it from the
// node.
func (s sandbox) answers(t *testing.T) func() error {
	t.Helper()
	var addresses []net.Addr
	var err error
	s.Do(func() {
		var device *net.Interface
		if device, err = net.InterfaceByName("eth0"); err == nil {
			addresses, err = device.Addrs()
		}
	})
	if err != nil || len(addresses) == 0 {
		t.Fatal(addresses, err)
	}
	at := s.Answer(t, netip.AddrPortFrom(netip.MustParsePrefix(addresses[0].String()).Addr(), 0).String())
	var node *netns.Namespace
	return func() error {
		_, err := node.Ask(t, at.String())
		return err
	}
}

// DEL succeeds for what is gone: the namespace, the interface, the lease, all of them.
func TestTheEndNeedsNothing(t *testing.T) {
	for name, takeAway := range map[string]func(n *node, pod sandbox) error{
		"the namespace":    func(_ *node, pod sandbox) error { pod.End(); return nil },
		"the agent's file": func(n *node, _ sandbox) error { return agent.Remove(n.run) },
		"the leases":       func(n *node, _ sandbox) error { return os.RemoveAll(n.state) },
		"everything": func(n *node, pod sandbox) error {
			pod.End()
			return errors.Join(os.RemoveAll(n.state), os.RemoveAll(n.run))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "10.244.1.0/24")
			pod := newSandbox(t, "c1")
			n.add(t, pod)
			if err := takeAway(n, pod); err != nil {
				t.Fatal(err)
			}
			n.must(t, pod.as("DEL"))
		})
	}
}

func TestGarbageIsWhatTheRuntimeDoesNotName(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	kept, gone, ended := newSandbox(t, "kept"), newSandbox(t, "gone"), newSandbox(t, "ended")
	for _, pod := range []sandbox{kept, gone, ended} {
		n.add(t, pod)
	}
	answered := kept.answers(t)
	ended.End()
	n.must(t, call{verb: "GC", more: `"cni.dev/valid-attachments": [{"containerID": "kept", "ifname": "eth0"}, {"containerID": "gone", "ifname": "eth1"}]`})
	if err := answered(); err != nil {
		t.Error(err)
	}
	n.must(t, kept.as("DEL"))
	n.must(t, call{verb: "GC"})
}

// A plugin before ours in the list keeps its part of the result.
func TestResultsOfEarlierPluginsStay(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	pod := newSandbox(t, "c1")
	pod.more = `"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "other0", "sandbox": "/x"}], "ips": [{"address": "192.0.2.1/24", "interface": 0}], "dns": {"nameservers": ["192.0.2.53"]}}`
	said := n.must(t, pod.as("ADD"))
	var result struct {
		Interfaces []struct{ Name string }
		IPs        []struct {
			Address   string
			Interface int
		}
		DNS struct{ Nameservers []string }
	}
	if err := json.Unmarshal(said, &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Interfaces) != 3 || result.Interfaces[0].Name != "other0" || result.Interfaces[2].Name != "eth0" ||
		len(result.IPs) != 2 || result.IPs[0].Address != "192.0.2.1/24" || result.IPs[1].Interface != 2 || len(result.DNS.Nameservers) != 1 {
		t.Errorf("ADD answers %s", said)
	}
	n.must(t, pod.as("DEL"))
}

// A pod with host ports, or in a namespace with policies, starts when the agent has done
// its part, and not without it. Others need no agent.
func TestPodsWaitForTheAgentWhereTheyNeedIt(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	n.Isolated = []string{"shop"}
	n.write(t)
	free, isolated, ports := newSandbox(t, "free"), newSandbox(t, "isolated"), newSandbox(t, "ports")
	free.args = "K8S_POD_NAMESPACE=other;K8S_POD_NAME=web;K8S_POD_UID=1"
	isolated.args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=2"
	ports.args = "K8S_POD_NAMESPACE=other;K8S_POD_NAME=web;K8S_POD_UID=3"
	ports.more = `"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "TCP"}]}`
	n.add(t, free)
	n.refused(t, isolated.as("ADD"), types.ErrTryAgainLater, "the agent of this node (fairway node) does not answer")

	var mu sync.Mutex
	var asked []agent.Request
	listener, err := agent.Listen(t.Context(), n.run)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := agent.Serve(ctx, listener, func(_ context.Context, request agent.Request) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, request)
			switch request.UID {
			case "gone":
				return &agent.RefusedError{Outcome: agent.Replaced, Why: "shop/web has the UID 2 now"}
			case "bad":
				return errors.New("the kernel refuses port 80")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	defer func() { cancel(); serving.Wait() }()
	n.add(t, isolated)
	n.add(t, ports)
	if want := []agent.Request{
		{Container: "isolated", Interface: "eth0", UID: "2", Namespace: "shop", Pod: "web"},
		{Container: "ports", Interface: "eth0", UID: "3", Namespace: "other", Pod: "web"},
	}; !slices.Equal(asked, want) {
		t.Errorf("the agent was asked %+v", asked)
	}
	other := newSandbox(t, "other")
	other.args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=gone"
	n.refused(t, other.as("ADD"), types.ErrUnknownContainer, "pod replaced: shop/web has the UID 2 now")
	other.args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=bad"
	n.refused(t, other.as("ADD"), types.ErrTryAgainLater, "the kernel refuses port 80")
	for _, pod := range []sandbox{free, isolated, ports} {
		n.must(t, pod.as("DEL"))
	}
}

// The plugin is copied to every node, and started for every pod.
func TestThePluginIsSmall(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size > 10<<20 {
		t.Errorf("%s has %.1f MiB", filepath.Base(path), float64(size)/(1<<20))
	}
}
