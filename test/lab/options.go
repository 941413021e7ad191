package lab

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"time"
)

// Options describe a lab. The zero value is two nodes on one fabric, with IPv4,
// and without pod network, service proxy or cluster DNS, because those are what a
// lab tests.
type Options struct {
	// Name distinguishes labs on one machine. Empty means "lab" for Up, and a
	// unique name for Start.
	Name string

	// Nodes is the number of nodes, from 1 to 5. 0 means 2. They are called n1,
	// n2, …
	Nodes int

	// Fabrics is 1 or 2. 0 means 1. With two, n1, n3 and n5 are on the first
	// fabric, n2 and n4 on the second, and the machine "router" connects them.
	Fabrics int

	// Families are the address families of nodes, pods and Services. Empty means
	// IPv4.
	Families Families

	// MTU is the MTU of all links. 0 means 1500.
	MTU int

	// NodeMTU are the MTUs of single nodes' links, by name, in place of MTU.
	NodeMTU map[string]int

	// NodeBits4 is the length of the prefix of a node's range of IPv4 pods. 0 means 24.
	NodeBits4 int

	// ReferenceNetwork runs the reference CNI plugins ptp, host-local and portmap
	// on every node, and an agent that keeps static routes between the nodes' pod
	// ranges. Fairway's own network is compared with it.
	ReferenceNetwork bool

	// KubeProxy runs kube-proxy, with nftables, on every node.
	KubeProxy bool

	// CoreDNS runs cluster DNS in pods, at the usual address. It needs a network
	// and a service proxy.
	CoreDNS bool

	// DNS runs Fairway's cluster DNS, at the usual address, in place of CoreDNS as it comes.
	// Everything has it unless CoreDNS is asked for.
	DNS bool

	// Images are files in docker-archive or OCI layout. Every node has them in
	// addition to pause, echo and CoreDNS.
	Images []string

	// FairwayImages are built from this tree for every node: ControllerImage and
	// GatewayImage. With Fairway's network nodes have NodeImage, too.
	FairwayImages bool

	// Fairway is which part of Fairway is installed from the chart of this tree, with
	// FairwayImages, by the real Helm. Empty means none.
	Fairway Profile

	// Shop is a sample shop behind an Ingress, and an ACME server on the client's machine that gives it a
	// certificate. It needs Everything.
	Shop bool

	// KubeletConfiguration is merged over the kubelets' own configuration.
	KubeletConfiguration map[string]any

	// Progress receives progress messages, unless it is nil.
	Progress io.Writer `json:"-"`

	// Patience is the longest time for each step of the start. 0 means 3 minutes.
	Patience time.Duration

	// mortal labs die with this process.
	mortal bool
}

// Profile is a part of Fairway that a lab has in place of a reference one.
type Profile string

// The profiles.
const (
	// Ingress is the controllers and gateways. It needs a network, a service proxy and
	// a DNS.
	Ingress Profile = "ingress"
	// Network is the agents of nodes. They keep Services, too, unless the lab has
	// kube-proxy. The machine "control" is then a node, too, with the taint of a control
	// plane, and no machine but nodes has a route to pods.
	Network Profile = "network"
	// Services is the agents of nodes without their pod network, which is the reference
	// one.
	Services Profile = "services"
	// Everything is all that Fairway has.
	Everything Profile = "everything"
)

// hasNetwork reports whether nodes have Fairway's network.
func (o Options) hasNetwork() bool { return o.Fairway == Network || o.Fairway == Everything }

// hasServices reports whether nodes have Fairway's Services.
func (o Options) hasServices() bool {
	return !o.KubeProxy && (o.hasNetwork() || o.Fairway == Services)
}

// hasAgents reports whether nodes have Fairway's agents.
func (o Options) hasAgents() bool { return o.hasNetwork() || o.hasServices() }

// hasDNS reports whether the lab has Fairway's cluster DNS.
func (o Options) hasDNS() bool { return o.DNS || o.Fairway == Everything && !o.CoreDNS }

// hasChart reports whether parts of Fairway are there before its chart is installed, if it is.
func (o Options) hasChart() bool { return o.hasAgents() || o.hasDNS() }

// hasIngress reports whether the lab has Fairway's gateways.
func (o Options) hasIngress() bool { return o.Fairway == Ingress || o.Fairway == Everything }

// networked reports whether nodes get a network by themselves.
func (o Options) networked() bool { return o.ReferenceNetwork || o.hasNetwork() }

// Families are address families.
type Families string

// The families that a lab can have.
const (
	IPv4      Families = "ipv4"
	IPv6      Families = "ipv6"
	DualStack Families = "dual" // IPv4 first
)

// maxNodes is the limit that the addresses, and two cores, allow.
const maxNodes = 5

// names are part of paths, also of a socket's path, which may have 107 bytes.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

// complete fills in defaults, or says what is wrong.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = "lab"
	}
	o.Nodes = orElse(o.Nodes, 2)
	o.Fabrics = orElse(o.Fabrics, 1)
	o.MTU = orElse(o.MTU, 1500)
	o.NodeBits4 = orElse(o.NodeBits4, ranges4.nodePods)
	o.Patience = orElse(o.Patience, 3*time.Minute)
	o.Families = orElse(o.Families, IPv4)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	var wrong []error
	if !names.MatchString(o.Name) {
		wrong = append(wrong, fmt.Errorf("name %q: lower-case letters, digits and dashes, at most 31, are allowed", o.Name))
	}
	if o.Nodes < 1 || o.Nodes > maxNodes {
		wrong = append(wrong, fmt.Errorf("%d nodes: 1 to %d are possible", o.Nodes, maxNodes))
	}
	if o.Fabrics < 1 || o.Fabrics > 2 {
		wrong = append(wrong, fmt.Errorf("%d fabrics: 1 and 2 are possible", o.Fabrics))
	}
	for _, mtu := range append(slices.Sorted(maps.Values(o.NodeMTU)), o.MTU) {
		if mtu < 1280 || mtu > 9216 {
			wrong = append(wrong, fmt.Errorf("MTU %d: 1280 to 9216 are possible", mtu))
		}
	}
	if pods := ranges4.pods.Bits(); o.NodeBits4 <= pods || o.NodeBits4 > 30 {
		wrong = append(wrong, fmt.Errorf("ranges of pods with %d bits: %d to 30 are possible", o.NodeBits4, pods+1))
	}
	if !slices.Contains([]Families{IPv4, IPv6, DualStack}, o.Families) {
		wrong = append(wrong, fmt.Errorf("families %q: %s, %s and %s are possible", o.Families, IPv4, IPv6, DualStack))
	}
	o.FairwayImages = o.FairwayImages || o.hasIngress()
	return o, errors.Join(append(wrong, o.parts()...)...)
}

// parts says what is wrong with what the lab is made of.
func (o Options) parts() []error {
	var wrong []error
	if !slices.Contains([]Profile{"", Ingress, Network, Services, Everything}, o.Fairway) {
		wrong = append(wrong, fmt.Errorf("fairway %q: %s, %s, %s and %s are possible", o.Fairway, Ingress, Network, Services, Everything))
	}
	if o.ReferenceNetwork && o.hasNetwork() {
		wrong = append(wrong, fmt.Errorf("fairway %s: it takes the place of the reference network", o.Fairway))
	}
	if o.Fairway == Services && (o.KubeProxy || !o.ReferenceNetwork) {
		wrong = append(wrong, fmt.Errorf("fairway %s: it takes the place of kube-proxy, on the reference network", o.Fairway))
	}
	if (o.CoreDNS || o.hasDNS()) && (!o.networked() || !o.KubeProxy && !o.hasServices()) {
		wrong = append(wrong, errors.New("CoreDNS and Fairway's DNS: their pods need a network, and their clients kube-proxy or Fairway's Services"))
	}
	if o.Shop && o.Fairway != Everything {
		wrong = append(wrong, fmt.Errorf("the shop: it needs fairway %s", Everything))
	}
	if o.CoreDNS && o.DNS {
		wrong = append(wrong, errors.New("CoreDNS: Fairway's DNS takes its place"))
	}
	if o.hasIngress() && !o.CoreDNS && !o.hasDNS() {
		wrong = append(wrong, fmt.Errorf("fairway %s: its gateways find the controllers by CoreDNS or Fairway's DNS", o.Fairway))
	}
	return wrong
}

func orElse[T comparable](value, otherwise T) T {
	var none T
	if value == none {
		return otherwise
	}
	return value
}
