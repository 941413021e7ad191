package plugin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
)

// Where things are on a node, if the configuration does not say.
const (
	DefaultState = "/var/lib/fairway/cni"
	DefaultRun   = "/run/fairway"
)

// Config is the plugin's entry in a network configuration list.
type Config struct {
	types.PluginConf

	// State is the folder that has the leases. It survives a boot.
	State string `json:"stateDir,omitempty"`
	// Run is the folder that has the agent's file and socket. It does not.
	Run string `json:"runDir,omitempty"`

	Runtime Runtime `json:"runtimeConfig,omitempty"`

	previous *current.Result
}

// Runtime is what the container runtime asks for one pod, by capabilities.
type Runtime struct {
	PortMappings []PortMapping `json:"portMappings,omitempty"`
	Bandwidth    *Bandwidth    `json:"bandwidth,omitempty"`
	// IPs are requested addresses, with or without a prefix length.
	IPs []string `json:"ips,omitempty"`
}

// PortMapping is an entry of the capability portMappings.
type PortMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// Bandwidth is the capability bandwidth: rates in bits a second, bursts in bits.
// Ingress is what the pod receives.
type Bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// parse reads the configuration on standard input.
func parse(args *skel.CmdArgs) (Config, error) {
	config := Config{State: DefaultState, Run: DefaultRun}
	if err := json.Unmarshal(args.StdinData, &config); err != nil {
		return config, failure(types.ErrDecodingFailure, "read the network configuration: "+err.Error(), "")
	}
	if config.RawPrevResult == nil {
		return config, nil
	}
	if err := version.ParsePrevResult(&config.PluginConf); err != nil {
		return config, failure(types.ErrDecodingFailure, "read prevResult: "+err.Error(), "")
	}
	previous, err := current.NewResultFromResult(config.PrevResult)
	if err != nil {
		return config, failure(types.ErrDecodingFailure, "read prevResult: "+err.Error(), "")
	}
	config.previous = previous
	return config, nil
}

// unlimitedBurst is what runtimes send for a burst that nobody has set.
const unlimitedBurst = 1<<31 - 1

// bandwidth returns the limits of the pod's wire.
func (r Runtime) bandwidth() link.Bandwidth {
	if r.Bandwidth == nil {
		return link.Bandwidth{}
	}
	limit := func(rate, burst uint64) link.Limit {
		if burst >= unlimitedBurst {
			burst = 0 // a bucket of that size would let the first 256 MiB pass
		}
		return link.Limit{Rate: rate, Burst: burst}
	}
	return link.Bandwidth{
		Receives: limit(r.Bandwidth.IngressRate, r.Bandwidth.IngressBurst),
		Sends:    limit(r.Bandwidth.EgressRate, r.Bandwidth.EgressBurst),
	}
}

// addresses returns the requested addresses.
func (r Runtime) addresses() ([]netip.Addr, error) {
	var all []netip.Addr
	for _, text := range r.IPs {
		text, _, _ := strings.Cut(text, "/")
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return nil, failure(types.ErrInvalidNetworkConfig, fmt.Sprintf("runtimeConfig.ips: %q is no address", text), "")
		}
		all = append(all, address.Unmap())
	}
	return all, nil
}

// pod returns the pod that CNI_ARGS names. A runtime that is no kubelet's names none.
func pod(args string) (namespace, name, uid string) {
	for _, pair := range strings.Split(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			namespace = value
		case "K8S_POD_NAME":
			name = value
		case "K8S_POD_UID":
			uid = value
		}
	}
	return namespace, name, uid
}

// hostPorts returns the ports of the node that lead to the pod. Entries without one are the
// container's ports, which need nothing.
func (r Runtime) hostPorts() ([]ipam.HostPort, error) {
	var all []ipam.HostPort
	for i, mapping := range r.PortMappings {
		if mapping.HostPort == 0 {
			continue
		}
		wrong := func(field string, value any) error {
			return failure(types.ErrInvalidNetworkConfig, fmt.Sprintf("runtimeConfig.portMappings[%d].%s: %v is not possible", i, field, value), "")
		}
		port := ipam.HostPort{Protocol: strings.ToLower(mapping.Protocol)}
		if port.Protocol == "" {
			port.Protocol = "tcp"
		}
		var err error
		if mapping.HostIP != "" {
			if port.Address, err = netip.ParseAddr(mapping.HostIP); err != nil {
				return nil, wrong("hostIP", mapping.HostIP)
			}
		}
		if port.Address.IsUnspecified() {
			port.Address = netip.Addr{}
		}
		switch {
		case mapping.HostPort < 0 || mapping.HostPort > 65535:
			return nil, wrong("hostPort", mapping.HostPort)
		case mapping.ContainerPort < 1 || mapping.ContainerPort > 65535:
			return nil, wrong("containerPort", mapping.ContainerPort)
		case port.Protocol != "tcp" && port.Protocol != "udp" && port.Protocol != "sctp":
			return nil, wrong("protocol", mapping.Protocol)
		}
		port.Port, port.PodPort = uint16(mapping.HostPort), uint16(mapping.ContainerPort)
		all = append(all, port)
	}
	return all, nil
}
