package lab

import (
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/lab/machine"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	imagesDir        = "/opt/lab/images"
	cniBin           = machine.BinDir + "/cni"
	cniConf          = "/etc/cni/net.d"
	registries       = "/etc/containerd/certs.d"
)

// node is the machine of node number n.
func (p planner) node(n int) (*machine.Spec, error) {
	name, fabric := nodeName(n), p.options.nodeFabric(n)
	node := p.machine(machine.Node, name, fabric, firstNode+n)
	if !p.options.hasNetwork() {
		letThrough(node) // Fairway's agent does that itself
	}
	if err := p.addNode(node, fabric, firstNode+n); err != nil {
		return nil, err
	}
	if p.options.KubeProxy {
		if err := p.addKubeProxy(node); err != nil {
			return nil, err
		}
	}
	if p.options.ReferenceNetwork {
		if err := p.addRoutes(node, name); err != nil {
			return nil, err
		}
	}
	return node, nil
}

// addNode makes a machine a node.
func (p planner) addNode(node *machine.Spec, fabric, host int, kubeletFlags ...string) error {
	if err := p.addDisks(node); err != nil {
		return err
	}
	if err := p.addNodeKeys(node, fabric, host); err != nil {
		return err
	}
	return p.addKubelet(node, fabric, host, kubeletFlags...)
}

// addDisks gives a node the folders that must not be on its copy-on-write root:
// containerd mounts overlays in them, and a kubelet measures their size.
func (p planner) addDisks(node *machine.Spec) error {
	for _, name := range []string{"containerd", "kubelet"} {
		from := filepath.Join(node.Dir, name)
		if err := os.MkdirAll(from, 0o755); err != nil {
			return fmt.Errorf("make node %s: %w", node.Name, err)
		}
		node.Binds = append(node.Binds, machine.Bind{From: from, To: "/var/lib/" + name})
	}
	node.Binds = append(node.Binds, machine.Bind{From: filepath.Join(p.dir, "images"), To: imagesDir, ReadOnly: true})
	return nil
}

func (p planner) addNodeKeys(node *machine.Spec, fabric, host int) error {
	server, err := p.authority.Issue(pkix.Name{CommonName: node.Name}, []string{node.Name}, p.options.addresses(fabric, host)...)
	if err != nil {
		return err
	}
	node.Files[keys+"ca.crt"] = machine.File{Content: p.authority.PEM(), Mode: 0o600}
	node.Files[keys+"kubelet.crt"] = machine.File{Content: server.Certificate, Mode: 0o600}
	node.Files[keys+"kubelet.key"] = machine.File{Content: server.Key, Mode: 0o600}
	return p.addKubeconfig(node, "kubelet", "system:node:"+node.Name, "system:nodes")
}

// addKubelet adds containerd, the images, and the kubelet.
func (p planner) addKubelet(node *machine.Spec, fabric, host int, flags ...string) error {
	node.Files["/etc/containerd/config.toml"] = text(containerdConfig)
	node.Files[registries+"/"+Registry+"/hosts.toml"] = text(registryConfig)
	containerd := program("containerd", "--config=/etc/containerd/config.toml")
	containerd.Ready = "unix://" + containerdSocket
	node.Programs = append(node.Programs, containerd)
	for _, image := range p.options.Images {
		name := filepath.Base(image)
		load := program("ctr", "--namespace=k8s.io", "images", "import", "--no-unpack", filepath.Join(imagesDir, name))
		load.Name = "image-" + name
		load.Once = "/var/lib/containerd/lab/" + name
		node.Programs = append(node.Programs, load)
	}
	config, err := p.kubeletConfig(node.Name)
	if err != nil {
		return err
	}
	node.Files["/etc/kubernetes/kubelet.yaml"] = text(config)
	var addresses []string
	for _, address := range p.options.addresses(fabric, host) {
		addresses = append(addresses, address.String())
	}
	kubelet := program("kubelet", append(flags,
		"--config=/etc/kubernetes/kubelet.yaml",
		"--kubeconfig="+keys+"kubelet.conf",
		"--node-ip="+strings.Join(addresses, ","),
		fmt.Sprintf("--node-labels=topology.kubernetes.io/zone=fabric%d", fabric),
		"--v=2")...)
	kubelet.Needs = p.options.apiURL() + "/readyz" // without it, the kubelet would retry late
	node.Programs = append(node.Programs, kubelet)
	return nil
}

// containerdConfig sets "restrict_oom_score_adj" if root may not lower the score.
const containerdConfig = `version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
oom_score = 0
disabled_plugins = [
  'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.nri.v1.nri',
]
[grpc]
  address = '` + containerdSocket + `'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + PauseImage + `'
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '` + registries + `'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['` + cniBin + `', '/opt/cni/bin']
  conf_dir = '` + cniConf + `'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'runc'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '` + machine.BinDir + `/runc'
  SystemdCgroup = false
`

// registryConfig lets containerd speak plain HTTP to the lab's registry.
const registryConfig = `server = 'http://` + Registry + `'
[host.'http://` + Registry + `']
  capabilities = ['pull', 'resolve']
`

// kubeletConfig is the content of the kubelet's configuration file.
func (p planner) kubeletConfig(name string) (string, error) {
	config := map[string]any{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"failCgroupV1":             false,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + string(tree(p.options.Name).Below(name)),
		"failSwapOn":               false,
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": keys + "ca.crt"},
		},
		"authorization":             map[string]any{"mode": "Webhook"},
		"tlsCertFile":               keys + "kubelet.crt",
		"tlsPrivateKeyFile":         keys + "kubelet.key",
		"clusterDomain":             "cluster.local",
		"clusterDNS":                []string{host(p.options.Families.ranges()[0].services, dnsHost).String()},
		"resolvConf":                "/etc/resolv.conf",
		"oomScoreAdj":               0,
		"nodeStatusUpdateFrequency": "4s",
		"serializeImagePulls":       false,
		"registryPullQPS":           0,
		"kubeAPIQPS":                100,
		"kubeAPIBurst":              200,
		// The kubelet must use an image that was imported after a failed pull.
		"imagePullCredentialsVerificationPolicy": "NeverVerify",
		// The disk belongs to the real machine.
		"evictionHard":                map[string]string{"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
	}
	maps.Copy(config, p.options.KubeletConfiguration)
	encoded, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("write the kubelet's configuration: %w", err)
	}
	return string(encoded), nil
}

func (p planner) addKubeProxy(node *machine.Spec) error {
	if err := p.addKubeconfig(node, "kube-proxy", "system:kube-proxy"); err != nil {
		return err
	}
	config, err := yaml.Marshal(map[string]any{
		"apiVersion":       "kubeproxy.config.k8s.io/v1alpha1",
		"kind":             "KubeProxyConfiguration",
		"mode":             "nftables",
		"clientConnection": map[string]any{"kubeconfig": keys + "kube-proxy.conf"},
		"clusterCIDR":      p.options.join(func(r ranges) string { return r.pods.String() }),
		"oomScoreAdj":      0,
		// The size of the table is the real machine's, and read-only here.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0},
		"nftables":  map[string]any{"minSyncPeriod": "100ms"},
	})
	if err != nil {
		return fmt.Errorf("write kube-proxy's configuration: %w", err)
	}
	node.Files["/etc/kubernetes/kube-proxy.yaml"] = text(string(config))
	proxy := program("kube-proxy", "--config=/etc/kubernetes/kube-proxy.yaml", "--v=2")
	proxy.Needs = p.options.apiURL() + "/readyz"
	node.Programs = append(node.Programs, proxy)
	return nil
}

// addRoutes adds the agent of the reference network. Without a node's name the
// agent only keeps the routes to all nodes' pods.
func (p planner) addRoutes(spec *machine.Spec, node string) error {
	if err := p.addKubeconfig(spec, "reference", "reference", "system:masters"); err != nil {
		return err
	}
	settings, err := json.Marshal(p.reference(spec, node))
	if err != nil {
		return fmt.Errorf("write the reference network's settings: %w", err)
	}
	spec.Files[referenceSettings] = text(string(settings))
	spec.Programs = append(spec.Programs, machine.Program{
		Name: "reference-network", Path: selfPath, Argv0: referenceRole,
		Needs: p.options.apiURL() + "/readyz",
	})
	return nil
}

// dirOf is the folder of a machine.
func (l *Lab) dirOf(name string) string { return rack.MachineDir(l.dir, name) }
