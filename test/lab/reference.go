package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairwaynet/fairway/test/lab/machine"
)

// The agent of the reference network runs on every machine that routes to pods.
// It learns the pod range of each node and keeps routes to it. On a node it also
// writes the configuration of the CNI plugins, which makes the node Ready.
const (
	referenceRole     = "fairway-lab:reference"
	referenceSettings = "/etc/lab-reference.json"
	referencePeriod   = 300 * time.Millisecond
)

// reference is the configuration of an agent.
type reference struct {
	Node string // empty: the machine is not a node
	MTU  int

	// Via are the next hops to other nodes.
	Via map[string][]netip.Addr
}

// reference is the configuration of a machine's agent.
func (p planner) reference(spec *machine.Spec, node string) reference {
	settings := reference{Node: node, MTU: p.options.MTU, Via: map[string][]netip.Addr{}}
	for n := 1; n <= p.options.Nodes; n++ {
		fabric := p.options.nodeFabric(n)
		linked := slices.ContainsFunc(spec.Links, func(l machine.Link) bool { return l.Fabric == fabric })
		switch {
		case nodeName(n) == node:
		case linked:
			settings.Via[nodeName(n)] = p.options.addresses(fabric, firstNode+n)
		default:
			settings.Via[nodeName(n)] = p.options.addresses(spec.Links[0].Fabric, routerHost)
		}
	}
	return settings
}

// runReference is the agent.
func runReference(ctx context.Context) error {
	encoded, err := os.ReadFile(referenceSettings)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	var settings reference
	if err := json.Unmarshal(encoded, &settings); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", keys+"reference.conf")
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	for {
		if err := settings.apply(ctx, client); err != nil {
			fmt.Fprintln(os.Stderr, err) // it tries again, because the API server may be unreachable
		}
		select {
		case <-time.After(referencePeriod):
		case <-ctx.Done():
			return nil
		}
	}
}

// apply updates routes and plugins.
func (r reference) apply(ctx context.Context, client kubernetes.Interface) error {
	// It reads from the API server's cache, because every machine polls often.
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, node := range nodes.Items {
		pods, err := podRanges(&node)
		if err == nil && node.Name == r.Node && len(pods) > 0 {
			err = r.configure(pods)
		} else if err == nil {
			err = r.route(node.Name, pods)
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
	}
	return nil
}

func podRanges(node *corev1.Node) ([]netip.Prefix, error) {
	var found []netip.Prefix
	for _, text := range node.Spec.PodCIDRs {
		pods, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		found = append(found, pods)
	}
	return found, nil
}

// route adds routes to the pods of a node.
func (r reference) route(node string, pods []netip.Prefix) error {
	for _, to := range pods {
		for _, via := range r.Via[node] {
			if via.Is4() != to.Addr().Is4() {
				continue
			}
			route := netlink.Route{
				Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
				Gw:  via.AsSlice(),
			}
			if err := netlink.RouteReplace(&route); err != nil {
				return fmt.Errorf("route %s via %s: %w", to, via, err)
			}
		}
	}
	return nil
}

// configure replaces the plugins' configuration atomically.
func (r reference) configure(pods []netip.Prefix) error {
	const path = cniConf + "/10-reference.conflist"
	encoded, err := r.plugins(pods)
	if err != nil {
		return err
	}
	if is, err := os.ReadFile(path); err == nil && string(is) == string(encoded) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", encoded, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// plugins is the configuration of ptp, host-local and portmap.
func (r reference) plugins(pods []netip.Prefix) ([]byte, error) {
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for _, p := range pods {
		ranges = append(ranges, []object{{"subnet": p.String()}})
		all := netip.PrefixFrom(p.Addr(), 0).Masked()
		routes = append(routes, object{"dst": all.String()})
	}
	return json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "reference",
		"plugins": []object{
			{
				"type": "ptp", "mtu": r.MTU,
				"ipam": object{
					"type": "host-local", "ranges": ranges, "routes": routes,
					"dataDir": "/run/cni-addresses", // lost at reboot, like the pods
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}, "backend": "nftables"},
		},
	}, "", "  ")
}
