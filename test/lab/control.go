package lab

import (
	"crypto/x509/pkix"
	"fmt"
	"net/netip"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/lab/machine"
)

// keys is the folder of certificates and kubeconfigs on a machine.
const keys = "/etc/kubernetes/"

// AdminKubeconfig is the administrator's kubeconfig on the machine "control".
const AdminKubeconfig = keys + "admin.conf"

// control is the machine with the control plane.
func (p planner) control() (*machine.Spec, error) {
	control := p.machine(machine.Control, controlName, 0, controlHost)
	control.Forward = netip.AddrPortFrom(p.options.addresses(0, controlHost)[0], apiPort).String()
	if err := p.addControlKeys(control); err != nil {
		return nil, err
	}
	ready := p.options.apiURL() + "/readyz"
	etcd := program("etcd", etcdFlags()...)
	apiserver := program("kube-apiserver", p.apiserverFlags()...)
	apiserver.Ready = ready
	// The controller-manager ends at once if the roles that it needs do not exist
	// yet.
	manager := program("kube-controller-manager", p.managerFlags()...)
	scheduler := program("kube-scheduler", schedulerFlags()...)
	control.Programs = []machine.Program{etcd, apiserver, manager, scheduler}
	if p.options.hasNetwork() {
		// So the API server reaches pods as any node does, for webhooks and its proxy.
		if err := p.addNode(control, 0, controlHost, "--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule"); err != nil {
			return nil, err
		}
	}
	if p.options.ReferenceNetwork {
		// The API server needs routes to pods, for webhooks and its proxy.
		if err := p.addRoutes(control, ""); err != nil {
			return nil, err
		}
	}
	return control, nil
}

func (p planner) addControlKeys(control *machine.Spec) error {
	addresses := append(p.options.addresses(0, controlHost), netip.MustParseAddr("127.0.0.1"))
	for _, r := range p.options.Families.ranges() {
		addresses = append(addresses, host(r.services, 1))
	}
	server, err := p.authority.Issue(pkix.Name{CommonName: "kube-apiserver"},
		[]string{controlName, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}, addresses...)
	if err != nil {
		return err
	}
	kubelets, err := p.authority.Issue(pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	tokens, err := authority.NewKey()
	if err != nil {
		return err
	}
	signing, err := authority.EncodeKey(tokens)
	if err != nil {
		return err
	}
	ca, err := authority.EncodeKey(p.authority.Key)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt": p.authority.PEM(), "ca.key": ca, "tokens.key": signing,
		"apiserver.crt": server.Certificate, "apiserver.key": server.Key,
		"kubelets.crt": kubelets.Certificate, "kubelets.key": kubelets.Key,
	} {
		control.Files[keys+name] = machine.File{Content: content, Mode: 0o600}
	}
	if err := p.addKubeconfig(control, "admin", "admin", "system:masters"); err != nil {
		return err
	}
	for _, user := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := p.addKubeconfig(control, user, "system:"+user); err != nil {
			return err
		}
	}
	return nil
}

// addKubeconfig gives a machine the file NAME.conf, with which a user can access
// the API.
func (p planner) addKubeconfig(spec *machine.Spec, name, user string, groups ...string) error {
	content, err := kubeconfig(p.authority, p.options.apiURL(), user, groups...)
	if err != nil {
		return err
	}
	spec.Files[keys+name+".conf"] = machine.File{Content: content, Mode: 0o600}
	return nil
}

func etcdFlags() []string {
	const client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []string{
		"--name=lab",
		"--data-dir=/var/lib/etcd",
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=lab=" + peer,
		"--unsafe-no-fsync", // only machines of the lab lose power, not the real one
		"--log-level=warn",
		// A single member elects itself after one timeout, so the timeout is
		// short.
		"--heartbeat-interval=20",
		"--election-timeout=200",
	}
}

func (p planner) apiserverFlags() []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address=" + p.options.addresses(0, controlHost)[0].String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + keys + "apiserver.crt",
		"--tls-private-key-file=" + keys + "apiserver.key",
		"--client-ca-file=" + keys + "ca.crt",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--kubelet-certificate-authority=" + keys + "ca.crt",
		"--kubelet-client-certificate=" + keys + "kubelets.crt",
		"--kubelet-client-key=" + keys + "kubelets.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + keys + "tokens.key",
		"--service-account-signing-key-file=" + keys + "tokens.key",
		"--service-cluster-ip-range=" + p.options.join(func(r ranges) string { return r.services.String() }),
		"--profiling=false",
	}
}

func (p planner) managerFlags() []string {
	flags := []string{
		"--kubeconfig=" + keys + "kube-controller-manager.conf",
		"--authentication-kubeconfig=" + keys + "kube-controller-manager.conf",
		"--authorization-kubeconfig=" + keys + "kube-controller-manager.conf",
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + keys + "tokens.key",
		"--root-ca-file=" + keys + "ca.crt",
		"--cluster-signing-cert-file=" + keys + "ca.crt",
		"--cluster-signing-key-file=" + keys + "ca.key",
		"--leader-elect=false",
		// Kubernetes notices after 20 seconds instead of 50 that a node is off.
		"--node-monitor-grace-period=20s", "--node-monitor-period=2s",
		"--kube-api-qps=300", "--kube-api-burst=500", // otherwise ServiceAccounts come late
		"--allocate-node-cidrs",
		"--cluster-cidr=" + p.options.join(func(r ranges) string { return r.pods.String() }),
		"--service-cluster-ip-range=" + p.options.join(func(r ranges) string { return r.services.String() }),
		"--profiling=false",
	}
	if p.options.Families != IPv6 {
		flags = append(flags, fmt.Sprintf("--node-cidr-mask-size-ipv4=%d", p.options.NodeBits4))
	}
	if p.options.Families != IPv4 {
		flags = append(flags, fmt.Sprintf("--node-cidr-mask-size-ipv6=%d", ranges6.nodePods))
	}
	return flags
}

func schedulerFlags() []string {
	return []string{
		"--kubeconfig=" + keys + "kube-scheduler.conf",
		"--authentication-kubeconfig=" + keys + "kube-scheduler.conf",
		"--authorization-kubeconfig=" + keys + "kube-scheduler.conf",
		"--leader-elect=false",
		"--profiling=false",
	}
}
