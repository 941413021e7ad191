package nodes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/fairwaynet/fairway/test/netns"
)

// pod is a pod as a runtime makes it, without a container.
type pod struct {
	*netns.Namespace

	node      *machine
	id        string
	addresses []netip.Addr
}

// call runs the plugin on the machine with the configuration that the agent has written, as
// a runtime does.
func (m *machine) call(verb, id, path, runtime string) ([]byte, error) {
	m.t.Helper()
	content, err := os.ReadFile(m.folder("net.d/05-fairway.conflist"))
	if err != nil {
		return nil, err
	}
	var list struct {
		Version string           `json:"cniVersion"`
		Name    string           `json:"name"`
		Plugins []map[string]any `json:"plugins"`
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, err
	}
	config := list.Plugins[0]
	config["cniVersion"], config["name"] = list.Version, list.Name
	if runtime != "" {
		config["runtimeConfig"] = json.RawMessage(runtime)
	}
	input, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	cmd := m.command(m.folder("bin/fairway-cni"))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + path, "CNI_IFNAME=eth0",
		"CNI_PATH=" + m.folder("bin"), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + id + ";K8S_POD_UID=" + m.uid(id),
	}
	cmd.Stdin = bytes.NewReader(input)
	said, err := cmd.Output()
	if err != nil {
		failed := &types.Error{}
		if json.Unmarshal(said, failed) == nil && failed.Msg != "" {
			return nil, failed
		}
		return nil, fmt.Errorf("%s: %w: %s", verb, err, said)
	}
	return said, nil
}

// uid is that of a pod: the API server's, if it has one.
func (m *machine) uid(id string) string {
	m.knowing.Lock()
	defer m.knowing.Unlock()
	return cmp.Or(m.uids[id], "uid-"+id)
}

// pod starts a pod. Runtime is its runtimeConfig in JSON, or empty.
func (m *machine) pod(id, runtime string) *pod {
	m.t.Helper()
	p, err := m.tryPod(id, runtime)
	if err != nil {
		m.t.Fatalf("%s: add pod %s: %v", m.name, id, err)
	}
	return p
}

func (m *machine) tryPod(id, runtime string) (*pod, error) {
	m.t.Helper()
	p := &pod{Namespace: netns.New(m.t), node: m, id: id}
	said, err := m.call("ADD", id, p.Path, runtime)
	if err != nil {
		return nil, err
	}
	var result current.Result
	if err := json.Unmarshal(said, &result); err != nil {
		return nil, err
	}
	for _, ip := range result.IPs {
		address, _ := netip.AddrFromSlice(ip.Address.IP)
		p.addresses = append(p.addresses, address.Unmap())
	}
	return p, nil
}

// remove ends a pod.
func (p *pod) remove() {
	p.node.t.Helper()
	if _, err := p.node.call("DEL", p.id, p.Path, ""); err != nil {
		p.node.t.Errorf("remove pod %s: %v", p.id, err)
	}
}

// at is the pod's address of the family of an index: 0 is IPv4.
func (p *pod) at(family, port int) string {
	return netip.AddrPortFrom(p.addresses[family], uint16(port)).String()
}

// serve answers at port 8080 of each of the pod's addresses.
func (p *pod) serve(t testing.TB) *pod {
	t.Helper()
	for family := range p.addresses {
		p.Answer(t, p.at(family, 8080))
	}
	return p
}

// asks checks that from reaches an address, and which address is seen there.
func asks(t testing.TB, from *netns.Namespace, to, seen string) {
	t.Helper()
	said, err := from.Ask(t, to)
	if err != nil || said != seen {
		t.Fatalf("%s sees %q, %v, want %s", to, said, err, seen)
	}
}
