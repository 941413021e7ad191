package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/lab/machine"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

// plans a lab whose folder is a test's.
func plans(t *testing.T, options Options) (rack.Plan, map[string]*machine.Spec) {
	t.Helper()
	options, err := options.complete()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := authority.New("lab", lifetime)
	if err != nil {
		t.Fatal(err)
	}
	plan, specs, err := planner{options: options, dir: t.TempDir(), tools: "/bin", self: "/bin/true", authority: ca}.plan()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*machine.Spec{}
	for _, spec := range specs {
		byName[spec.Name] = spec
	}
	return plan, byName
}

func TestMachinesOfALab(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options
		want    string
	}{
		{"two nodes", Options{}, "control n1 n2 client"},
		{"five", Options{Nodes: 5}, "control n1 n2 n3 n4 n5 client"},
		{"two fabrics have a router", Options{Fabrics: 2}, "control router n1 n2 client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, _ := plans(t, test.options)
			if got := strings.Join(plan.Machines, " "); got != test.want {
				t.Errorf("machines %s, want %s", got, test.want)
			}
		})
	}
}

func TestNoTwoLinksShareAnAddress(t *testing.T) {
	_, specs := plans(t, Options{Nodes: 5, Fabrics: 2, Families: DualStack})
	taken := map[string]string{}
	for name, spec := range specs {
		for _, link := range spec.Links {
			ids := []string{link.MAC}
			for _, address := range link.Addresses {
				ids = append(ids, address.String())
			}
			for _, id := range ids {
				if other := taken[id]; other != "" {
					t.Errorf("%s and %s have %s", name, other, id)
				}
				taken[id] = name
			}
		}
	}
}

func TestFabricsShareNoLink(t *testing.T) {
	_, specs := plans(t, Options{Nodes: 2, Fabrics: 2, Families: DualStack})
	for name, want := range map[string]string{
		"n1":     "172.30.1.0/24 via 172.30.0.1, fd00:30:0:1::/64 via fd00:30::1, 0.0.0.0/0 via 172.30.0.1, ::/0 via fd00:30::1",
		"n2":     "172.30.0.0/24 via 172.30.1.1, fd00:30::/64 via fd00:30:0:1::1, 0.0.0.0/0 via 172.30.1.1, ::/0 via fd00:30:0:1::1",
		"client": "172.30.1.0/24 via 172.30.0.1, fd00:30:0:1::/64 via fd00:30::1",
		"router": "",
	} {
		var routes []string
		for _, route := range specs[name].Routes {
			routes = append(routes, fmt.Sprintf("%s via %s", route.To, route.Via))
		}
		if got := strings.Join(routes, ", "); got != want {
			t.Errorf("routes of %s: %s, want %s", name, got, want)
		}
	}
	if specs["n1"].Links[0].Fabric == specs["n2"].Links[0].Fabric {
		t.Error("n1 and n2 are on one fabric")
	}
}

func TestTheReferenceNetworkGoesTheShortWay(t *testing.T) {
	options, err := Options{Nodes: 3, Fabrics: 2, ReferenceNetwork: true}.complete()
	if err != nil {
		t.Fatal(err)
	}
	_, specs := plans(t, options)
	got := planner{options: options}.reference(specs["n1"], "n1").Via
	if _, itself := got["n1"]; itself {
		t.Error("n1 has a route to itself")
	}
	if want := netip.MustParseAddr("172.30.0.13"); got["n3"][0] != want {
		t.Errorf("to n3, on the same fabric, by %s, want %s", got["n3"][0], want)
	}
	if want := netip.MustParseAddr("172.30.0.1"); got["n2"][0] != want {
		t.Errorf("to n2, on the other fabric, by %s, want the router's %s", got["n2"][0], want)
	}
}

func TestAClientKnowsNoCluster(t *testing.T) {
	_, specs := plans(t, Options{ReferenceNetwork: true, KubeProxy: true})
	client := specs["client"]
	if len(client.Routes) > 0 || len(client.Programs) > 0 {
		t.Errorf("the client has routes %v and programs %v", client.Routes, client.Programs)
	}
	for path := range client.Files {
		if strings.HasPrefix(path, keys) {
			t.Errorf("the client has %s", path)
		}
	}
}

func TestKubeletsSettingsCanBeChanged(t *testing.T) {
	_, specs := plans(t, Options{KubeletConfiguration: map[string]any{"maxPods": 7}})
	if config := string(specs["n1"].Files["/etc/kubernetes/kubelet.yaml"].Content); !strings.Contains(config, "maxPods: 7\n") {
		t.Errorf("the kubelet's file:\n%s", config)
	}
}

func TestNodesCanDiffer(t *testing.T) {
	_, specs := plans(t, Options{MTU: 9000, NodeMTU: map[string]int{"n2": 1400}, NodeBits4: 28})
	for name, want := range map[string]int{"control": 9000, "n1": 9000, "n2": 1400, "client": 9000} {
		if got := specs[name].Links[0].MTU; got != want {
			t.Errorf("the link of %s has the MTU %d, want %d", name, got, want)
		}
	}
	for _, program := range specs["control"].Programs {
		if program.Name == "kube-controller-manager" && !slices.Contains(program.Args, "--node-cidr-mask-size-ipv4=28") {
			t.Errorf("kube-controller-manager has the flags %v", program.Args)
		}
	}
}

func TestNodesHaveNothingOfTheReferenceUnasked(t *testing.T) {
	_, specs := plans(t, Options{})
	for _, program := range specs["n1"].Programs {
		if slices.Contains([]string{"reference-network", "kube-proxy"}, program.Name) {
			t.Errorf("n1 runs %s", program.Name)
		}
	}
}
