package lab

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/lab/cgroup"
	"github.com/fairwaynet/fairway/test/lab/machine"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

// The names of machines that are not nodes.
const (
	controlName = "control"
	routerName  = "router"
	clientName  = "client"
)

// planner derives a lab's machines from its options.
type planner struct {
	options   Options
	dir       string
	tools     string // the folder of the lab's programs
	self      string // this program
	authority *authority.Authority
}

// plan returns the rack and its machines.
func (p planner) plan() (rack.Plan, []*machine.Spec, error) {
	control, err := p.control()
	if err != nil {
		return rack.Plan{}, nil, err
	}
	specs := []*machine.Spec{control}
	if p.options.Fabrics > 1 {
		router, err := p.router()
		if err != nil {
			return rack.Plan{}, nil, err
		}
		specs = append(specs, router)
	}
	for n := 1; n <= p.options.Nodes; n++ {
		node, err := p.node(n)
		if err != nil {
			return rack.Plan{}, nil, err
		}
		specs = append(specs, node)
	}
	client := p.client()
	if p.options.Shop {
		if err := p.addACME(client); err != nil {
			return rack.Plan{}, nil, err
		}
	}
	specs = append(specs, client)
	plan := rack.Plan{Dir: p.dir, Cgroups: tree(p.options.Name), Fabrics: p.options.Fabrics, MTU: p.options.MTU}
	for _, spec := range specs {
		plan.Machines = append(plan.Machines, spec.Name)
	}
	return plan, specs, nil
}

// tree is the control group tree of the named lab.
func tree(name string) cgroup.Tree { return cgroups.Below(name) }

// cgroups is the control group tree of all labs.
const cgroups cgroup.Tree = "fairway-lab"

// machine is a machine on one fabric, without a purpose yet.
func (p planner) machine(kind machine.Kind, name string, fabric, n int) *machine.Spec {
	return &machine.Spec{
		Name: name, Kind: kind, Dir: rack.MachineDir(p.dir, name),
		Links:  []machine.Link{p.link(name, "eth0", fabric, n)},
		Routes: append(p.between(fabric), p.out(fabric, n)...),
		Sysctls: map[string]string{
			"net/ipv4/conf/all/rp_filter":      "0",
			"net/ipv6/conf/all/accept_ra":      "0",
			"net/ipv6/conf/all/accept_dad":     "0",
			"net/ipv6/conf/default/accept_dad": "0",
			"net/ipv6/conf/eth0/accept_dad":    "0",
			"net/ipv6/conf/eth1/accept_dad":    "0",
		},
		Files: map[string]machine.File{
			"/etc/hostname":    text(name + "\n"),
			"/etc/hosts":       text(p.hosts()),
			"/etc/machine-id":  text(fmt.Sprintf("%032x\n", 0xfa<<32+fabric<<16+n)),
			"/etc/resolv.conf": text("# nothing is known outside of the lab\n"),
		},
		Binds: []machine.Bind{
			{From: p.tools, To: machine.BinDir, ReadOnly: true},
			{From: p.self, To: selfPath, ReadOnly: true},
		},
	}
}

// selfPath is the path of this program on a machine.
const selfPath = "/opt/lab/lab"

func text(content string) machine.File {
	return machine.File{Content: []byte(content), Mode: 0o644}
}

// link is a machine's link to a fabric.
func (p planner) link(of, name string, fabric, n int) machine.Link {
	l := machine.Link{
		Name: name, Fabric: fabric, MTU: orElse(p.options.NodeMTU[of], p.options.MTU),
		MAC: fmt.Sprintf("02:fa:00:00:%02x:%02x", fabric, n),
	}
	for _, r := range p.options.Families.ranges() {
		l.Addresses = append(l.Addresses, netip.PrefixFrom(host(r.fabrics[fabric], n), r.fabrics[fabric].Bits()))
	}
	return l
}

// between is the route from one fabric to the other.
func (p planner) between(fabric int) []machine.Route {
	if p.options.Fabrics == 1 {
		return nil
	}
	var routes []machine.Route
	for _, r := range p.options.Families.ranges() {
		routes = append(routes, machine.Route{To: r.fabrics[1-fabric], Via: host(r.fabrics[fabric], routerHost)})
	}
	return routes
}

// out is where a machine sends what nobody on its fabric has: to the router, or to the client, which loses
// it. Without such a route the machine itself reaches no address of a Service: the kernel asks for a
// route before the rules lead the packet elsewhere.
func (p planner) out(fabric, n int) []machine.Route {
	via := clientHost
	if p.options.Fabrics > 1 {
		via = routerHost
	}
	if n == clientHost || n == routerHost {
		return nil
	}
	var routes []machine.Route
	for _, r := range p.options.Families.ranges() {
		everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.services.Addr().Is6() {
			everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, machine.Route{To: everywhere, Via: host(r.fabrics[fabric], via)})
	}
	return routes
}

// hosts is the /etc/hosts with the names of all machines.
func (p planner) hosts() string {
	var lines strings.Builder
	lines.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	add := func(name string, fabric, n int) {
		for _, address := range p.options.addresses(fabric, n) {
			fmt.Fprintf(&lines, "%s %s\n", address, name)
		}
	}
	add(controlName, 0, controlHost)
	add(clientName, 0, clientHost)
	for n := 1; n <= p.options.Nodes; n++ {
		add(nodeName(n), p.options.nodeFabric(n), firstNode+n)
	}
	if p.options.Shop {
		for _, address := range p.options.shopAddresses() {
			fmt.Fprintf(&lines, "%s %s\n", address, ShopHost)
		}
	}
	return lines.String()
}

// router joins the two fabrics.
func (p planner) router() (*machine.Spec, error) {
	router := p.machine(machine.Router, routerName, 0, routerHost)
	router.Routes = nil
	router.Links = append(router.Links, p.link(routerName, "eth1", 1, routerHost))
	letThrough(router)
	if !p.options.ReferenceNetwork {
		return router, nil
	}
	return router, p.addRoutes(router, "")
}

// client is outside of the cluster. It has routes to the nodes, but not to pods
// or Services.
func (p planner) client() *machine.Spec {
	return p.machine(machine.Client, clientName, 0, clientHost)
}

// letThrough enables forwarding on a machine.
func letThrough(spec *machine.Spec) {
	spec.Sysctls["net/ipv4/ip_forward"] = "1"
	spec.Sysctls["net/ipv6/conf/all/forwarding"] = "1"
}

// program is one of the lab's programs.
func program(name string, args ...string) machine.Program {
	return machine.Program{Name: name, Path: filepath.Join(machine.BinDir, name), Args: args}
}
