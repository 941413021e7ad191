// Command flannel is flannel in VXLAN mode, built from its module: its backend, its leases in
// etcd and its nftables rules, put together as by flanneld -ip-masq. It is not flanneld
// itself, which also links the libraries of several clouds, and not all of them can be had.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet/etcd"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
)

func main() {
	endpoint := flag.String("etcd", "http://127.0.0.1:2379", "etcd's address")
	device := flag.String("iface", "eth0", "the interface to the other nodes")
	file := flag.String("subnet-file", "subnet.env", "where to write the range of this node's pods, once all is in place")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *endpoint, *device, *file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run keeps the network of this node until ctx ends.
func run(ctx context.Context, endpoint, device, file string) error {
	const renewal = 60 // minutes before the end of a lease
	leases, err := etcd.NewLocalManager(ctx, &etcd.EtcdConfig{Endpoints: []string{endpoint}, Prefix: "/coreos.com/network"}, ip.IP4Net{}, ip.IP6Net{}, renewal)
	if err != nil {
		return fmt.Errorf("open the leases: %w", err)
	}
	config, err := leases.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	stack, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	uplink, err := ipmatch.LookupExtIface(device, "", "", stack, ipmatch.PublicIPOpts{})
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", device, err)
	}
	kind, err := backend.NewManager(ctx, leases, uplink).GetBackend(config.BackendType)
	if err != nil {
		return fmt.Errorf("choose the backend: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	network, err := kind.RegisterNetwork(ctx, &running, config)
	if err != nil {
		return fmt.Errorf("make the network: %w", err)
	}
	const resync = 5 // seconds, flanneld's
	rules := &nftables.NFTablesManager{}
	if err := rules.Init(ctx); err != nil {
		return fmt.Errorf("write the rules: %w", err)
	}
	var none4 ip.IP4Net
	var none6 ip.IP6Net
	if err := rules.SetupAndEnsureMasqRules(ctx, config.Network, none4, none4, config.IPv6Network, none6, none6, network.Lease(), resync, false); err != nil {
		return fmt.Errorf("write the rules: %w", err)
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resync)
	if err := leases.HandleSubnetFile(file, config, true, network.Lease().Subnet, network.Lease().IPv6Subnet, network.MTU()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	running.Go(func() { network.Run(ctx) })
	return leases.CompleteLease(ctx, network.Lease(), &running)
}
