package chart

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/soak"
)

// full gives every group of values something, so that all templates render.
const full = `
gateway:
  settings: {trustedHops: 1}
  autoscaling: {enabled: true}
  service: {additional: {inside: {annotations: {a: b}}}}
gateways:
  internal: {kind: DaemonSet, autoscaling: {enabled: false}, hostPort: {enabled: true}, publishAddresses: [192.0.2.1]}
issuers:
  letsencrypt: {email: admin@example.com, termsAgreed: true}
metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}
controller: {watchNamespaces: [shop], watchNamespaceSelector: team=shop}
network: {enabled: true, podCIDRs: [10.244.0.0/16, "fd00:10:244::/56"], apiServers: ["192.0.2.1:6443"], noMasquerade: [192.0.2.0/24]}
dns: {enabled: true, address: [10.96.0.10, "fd00:10:96::a"], upstreams: [192.0.2.53]}
`

// refusals are values that cannot work, and a part of what the user hears.
var refusals = []struct{ name, values, says string }{
	{"a value that does not exist", "gateway: {replicas: 3}", "replicas"},
	{"a group that does not exist", "gatewya: {}", "gatewya"},
	{"a misspelt setting", "gateway: {settings: {trustedHop: 1}}", "trustedHop"},
	{"a setting of a wrong type", "gateway: {settings: {trustedHops: many}}", "trustedHops"},
	{"a setting outside of its range", "gateway: {settings: {trustedHops: 99}}", "trustedHops"},
	{"a misspelt setting of a further gateway", "gateways: {internal: {settings: {x: 1}}}", "internal"},
	{"a boolean that is a text", `crds: {enabled: "false"}`, "enabled"},
	{"a port that is too large", "gateway: {containerPort: {http: 70000}}", "http"},
	{"a port that is a word", "gateway: {service: {nodePorts: {http: many}}}", "http"},
	{"a kind that does not exist", "gateway: {kind: StatefulSet}", "DaemonSet"},
	{"a digest that is none", "controller: {image: {digest: latest}}", "digest"},
	{"a gateway without a name", "gateways: {'': {}}", "invalid propertyName"},
	{"a gateway with a bad name", "gateways: {Internal_1: {}}", "Internal_1"},
	{"two gateways of one class", "gateways: {internal: {ingressClassResource: {name: fairway}}}", `class "fairway" is also that of gateway`},
	{"two gateways of one class by alias", "gateways: {internal: {ingressClassResource: {aliases: [fairway]}}}", `class "fairway" is also that of gateway`},
	{"two default classes", "gateway: {ingressClassResource: {default: true}}\ngateways: {internal: {ingressClassResource: {default: true}}}", "choose one"},
	{"replicas of a DaemonSet", "gateway: {kind: DaemonSet, replicaCount: 3}", "a DaemonSet runs one on every node"},
	{"replicas beside an autoscaler", "gateway: {autoscaling: {enabled: true}, replicaCount: 3}", "autoscaling.minReplicas"},
	{"an autoscaler of a DaemonSet", "gateway: {kind: DaemonSet, autoscaling: {enabled: true}}", "does not scale"},
	{"an autoscaler upside down", "gateway: {autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 3}}", "below minReplicas"},
	{"surge with ports of the node", "gateway: {hostPort: {enabled: true}, updateStrategy: {rollingUpdate: {maxSurge: 1}}}", "a second pod does not fit"},
	{"too little time to drain", "gateway: {terminationGracePeriodSeconds: 30}", "= 75"},
	{"a budget of all replicas", "controller: {podDisruptionBudget: {minAvailable: 2}}", "no node could be drained"},
	{"a budget of every one", "gateway: {podDisruptionBudget: {minAvailable: 100%}}", "no node could be drained"},
	{"a budget that allows nothing", "gateway: {podDisruptionBudget: {maxUnavailable: 0}}", "no node could be drained"},
	{"a Service without ports", "gateway: {service: {ports: {http: null, https: null}}}", "a Service needs http or https"},
	{"HTTP/3 without Envoy", "gateway: {service: {ports: {http3: 443}}}", "settings.tls.http3"},
	{"an Issuer without consent", "issuers: {letsencrypt: {email: admin@example.com}}", "issuers.letsencrypt.termsAgreed"},
	{"an Issuer with a misspelt field", "issuers: {letsencrypt: {mail: admin@example.com, termsAgreed: true}}", "mail"},
	{"an Issuer's controller", "issuers: {letsencrypt: {controller: x/y, termsAgreed: true}}", "controller.controllerValue says this"},
	{"a pool of addresses that nobody gives", "loadBalancer: {pools: [{name: lan, addresses: [192.0.2.1]}]}", "loadBalancer.pools: nobody gives their addresses; set loadBalancer.enabled"},
	{"a pool without a name", pools("{addresses: [192.0.2.1]}"), "'/loadBalancer/pools/0': missing property 'name'"},
	{"a pool without addresses", pools("{name: lan}"), "'/loadBalancer/pools/0': missing property 'addresses'"},
	{"two pools of one name", pools("{name: lan, addresses: [192.0.2.1]}, {name: lan, addresses: [192.0.2.2]}"), `loadBalancer.pools[1].name: "lan" is also the name of loadBalancer.pools[0]`},
	{"a pool with a bad name", pools("{name: Lan_1, addresses: [192.0.2.1]}"), "Lan_1"},
	{"a pool with a misspelt field", pools("{name: lan, addresses: [192.0.2.1], autoassign: true}"), "autoassign"},
	{"a pool with an address that is none", pools("{name: lan, addresses: [lan.test]}"), "/loadBalancer/pools/0/addresses/0"},
	{"a flag of ingress-nginx", "controller: {extraArgs: {default-ssl-certificate: a/b}}", "the flag is default-certificate"},
	{"a flag that does not exist", "controller: {extraArgs: {no-such-flag: 1}}", "no-such-flag"},
	{"a flag of the other process", "controller: {extraArgs: {concurrency: 1}}", "concurrency"},
	{"snippets", "controller: {allowSnippetAnnotations: true}", "snippets are code in the proxy"},
	{"annotations that are not checked", "controller: {enableAnnotationValidations: false}", "annotations are always checked"},
	{"an additional Service with a gateway's name", "gateway: {service: {additional: {internal: {}}}}\ngateways: {internal: {}}", "choose another"},
	{"a network without ranges of pods", "network: {enabled: true}", "network.podCIDRs: name all ranges of the cluster's pods"},
	{"a range that is an address", network("podCIDRs: [10.244.0.0]"), `network.podCIDRs: "10.244.0.0" is no prefix`},
	{"a range with too long a prefix", network(`podCIDRs: ["fd00::/129"]`), `"fd00::/129" is no prefix`},
	{"nodes' ranges that are larger than all", network("allocatePodCIDRs: true, podCIDRs: [10.0.0.0/25]"), "network.nodeCIDRMaskSize.ipv4: a node's range with a prefix of 24 bits does not fit into 10.0.0.0/25"},
	{"nodes' ranges that are larger than all, of IPv6", network(`allocatePodCIDRs: true, podCIDRs: ["fd00::/56"], nodeCIDRMaskSize: {ipv6: 48}`), "network.nodeCIDRMaskSize.ipv6: a node's range with a prefix of 48 bits does not fit into fd00::/56"},
	{"nodes' ranges without an address for pods", network("allocatePodCIDRs: true, nodeCIDRMaskSize: {ipv4: 31}"), "ipv4"},
	{"an exception that is a name", network("noMasquerade: [shop.test]"), `network.noMasquerade: "shop.test" is no prefix`},
	{"a mode that does not exist", network("mode: bgp"), "vxlan"},
	{"an overlay that is not used", network("mode: direct, overlay: {vni: 7}"), "mode direct has no overlay"},
	{"a VNI that is too large", network("overlay: {vni: 16777216}"), "vni"},
	{"an API server with a path", network("apiServers: ['https://192.0.2.1:6443/k8s']"), `network.apiServers: "https://192.0.2.1:6443/k8s" is no host:port`},
	{"an API server without TLS", network("apiServers: ['http://192.0.2.1:8080']"), "is no host:port"},
	{"a folder that hides the agent", network("cni: {binDir: /usr/local}"), "network.cni.binDir: /usr/local would hide the programs"},
	{"a folder without a slash", network("cni: {confDir: etc/cni}"), `network.cni.confDir: "etc/cni" is no folder`},
	{"a runtime by TCP", network("runtimeEndpoint: 'tcp://127.0.0.1:1'"), "is no socket in a folder of a node"},
	{"a socket in the root", network("runtimeEndpoint: 'unix:///containerd.sock'"), "is no socket in a folder of a node"},
	{"agents that do nothing", network("podNetwork: false"), "network.podNetwork: without it and without services.enabled the agents have nothing to do"},
	{"ranges for another's pods", network("podNetwork: false, services: {enabled: true}, allocatePodCIDRs: true"), "network.allocatePodCIDRs: the ranges are for the pod network of Fairway"},
	{"node ports at a name", network("services: {enabled: true, nodePortAddresses: [n1.test]}"), `network.services.nodePortAddresses: "n1.test" is no prefix`},
	{"a flag of Services that a value sets", network("extraArgs: {services: true}"), "network.services.enabled says this"},
	{"a second agent on a node", network("updateStrategy: {rollingUpdate: {maxSurge: 1}}"), "a second agent does not fit on a node"},
	{"a flag of the agent that a value sets", network("extraArgs: {pod-cidr: 10.1.0.0/16}"), "network.podCIDRs says this"},
	{"a flag of the agent that does not exist", network("extraArgs: {mtu: 1400}"), "mtu"},
	{"addresses without agents", "loadBalancer: {enabled: true}", "loadBalancer.enabled: needs network.enabled and network.services.enabled"},
	{"addresses without Services", network("") + "\nloadBalancer: {enabled: true}", "loadBalancer.enabled: needs network.enabled and network.services.enabled"},
	{"a class of addresses that is none", network("services: {enabled: true}") + "\nloadBalancer: {enabled: true, class: 'a b'}", "class"},
	{"a flag of addresses that a value sets", network("extraArgs: {announce: true}"), "loadBalancer.enabled says this"},
	{"a DNS without an address", "dns: {enabled: true}", "dns.address: name the address that the kubelets give pods as their DNS"},
	{"a DNS at a name", "dns: {enabled: true, address: dns.test}", "address"},
	{"a DNS at a wrong address", "dns: {enabled: true, address: 10.96.0.256}", `dns.address: "10.96.0.256" is no address`},
	{"a DNS at two addresses of one family", "dns: {enabled: true, address: [10.96.0.10, 10.96.0.11]}", "dns.address: two addresses must be of two families"},
	{"a DNS at three addresses", `dns: {enabled: true, address: [10.96.0.10, "fd00::a", "fd00::b"]}`, "address"},
	{"an upstream that is a name", dns("upstreams: [dns.test]"), `dns.upstreams: "dns.test" is no address`},
	{"an upstream with a wrong port", dns("upstreams: ['192.0.2.53:dns']"), `dns.upstreams: "192.0.2.53:dns" is no address`},
	{"an upstream that is the cluster's DNS", dns("upstreams: [10.96.0.10]"), "dns.upstreams: 10.96.0.10 is the cluster's DNS itself"},
	{"an upstream that is the pod", dns("upstreams: [127.0.0.53]"), "dns.upstreams: 127.0.0.53 is the cluster's DNS itself"},
	{"a lameduck that is too short", dns("lameduck: 2s"), "dns.lameduck: nodes need up to 5 seconds"},
	{"a budget of all DNS servers", dns("podDisruptionBudget: {minAvailable: 2}"), "dns.podDisruptionBudget.minAvailable: with 2 of 2 replicas no node could be drained"},
	{"a domain of capital letters", dns("domain: Cluster.Local"), "domain"},
	{"a value of CoreDNS's chart", dns("servers: []"), "zones of your own are in the ConfigMap that dns.zones names"},
	{"a controller value that is none", "controller: {controllerValue: fairway}", "controllerValue"},
}

// network is a network that could work, but for the values that are added.
func network(values string) string {
	ranges := "podCIDRs: [10.244.0.0/16], "
	if strings.HasPrefix(values, "podCIDRs") {
		ranges = ""
	}
	return "network: {enabled: true, " + ranges + values + "}"
}

// pools are AddressPools that could work, but for those that are given.
func pools(values string) string {
	return network("services: {enabled: true}") + "\nloadBalancer: {enabled: true, pools: [" + values + "]}"
}

// dns is a cluster DNS that could work, but for the values that are added.
func dns(values string) string { return "dns: {enabled: true, address: 10.96.0.10, " + values + "}" }

// Servers for names outside of the cluster may be of both families, with and without a port.
func TestUpstreams(t *testing.T) {
	all := release{values: dns(`upstreams: [192.0.2.53, "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]`)}.render(t)
	args := fmt.Sprint(field(all.must(t, "Deployment", "fairway-dns"), "spec.template.spec.containers.0.args"))
	for _, want := range []string{"--upstream=192.0.2.53 ", "--upstream=192.0.2.53:5353 ", "--upstream=2001:db8::53 ", "--upstream=[2001:db8::53]:5353 "} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
}

// What a network that is off lacks is no mistake.
func TestANetworkThatIsOffIsNotChecked(t *testing.T) {
	release{values: "network: {mode: direct, overlay: {vni: 7}, podCIDRs: [nonsense]}"}.render(t)
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	for i, test := range refusals {
		for _, program := range helms {
			if program == "helm3" && i%4 != 0 && !soak.On() { // the template and the schema are the same
				continue
			}
			t.Run(test.name+"/"+program, func(t *testing.T) {
				t.Parallel()
				refused(t, release{helm: program, values: test.values}, test.says)
			})
		}
	}
}

// Values that another chart, or an old one, has elsewhere are answered by the schema and,
// for those who skip it, by a template.
func TestValuesThatAreElsewhere(t *testing.T) {
	content, err := os.ReadFile(folder + "/files/elsewhere.yaml")
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	if err := yaml.Unmarshal(content, &answers); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for path := range answers {
		at := all
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			if _, ok := at[name].(map[string]any); !ok {
				at[name] = map[string]any{}
			}
			at = at[name].(map[string]any)
		}
		if at[names[len(names)-1]] == nil {
			at[names[len(names)-1]] = map[string]any{"some": "thing"}
		}
	}
	values, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) < 80 {
		t.Fatalf("only %d answers", len(answers))
	}
	for _, program := range helms {
		for _, skip := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s with the schema skipped %t", program, skip), func(t *testing.T) {
				r := release{helm: program, values: string(values)}
				if skip {
					r.args = []string{"--skip-schema-validation"}
				}
				_, err := r.try(t)
				if err == nil {
					t.Fatal("accepted")
				}
				for path, answer := range answers {
					if !strings.Contains(unquoted(err.Error()), unquoted(answer)) {
						t.Errorf("%s is not answered with %q", path, answer)
					}
				}
				if t.Failed() {
					t.Log(err)
				}
			})
		}
	}
}

// unquoted is a text without what Helm's versions quote differently.
func unquoted(text string) string {
	return strings.NewReplacer(`\`, "", `"`, "", "'", "", "`", "").Replace(text)
}

// Under --skip-schema-validation templates still refuse what only they can see.
func TestTemplatesRefuseWithoutTheSchema(t *testing.T) {
	for _, program := range helms {
		r := release{helm: program, args: []string{"--skip-schema-validation"}, values: "controller: {service: {type: NodePort}, kind: DaemonSet}\ngateway: {kind: DaemonSet, replicaCount: 2}"}
		refused(t, r, "controller.service: the Service belongs to the gateway, so it is gateway.service")
		refused(t, r, "controller.kind: the gateway carries traffic, so it is gateway.kind")
		refused(t, r, "gateway.replicaCount: a DaemonSet runs one on every node")
		r.values = pools("{addresses: [192.0.2.1]}, {name: lan}")
		refused(t, r, "loadBalancer.pools[0].name: give the AddressPool a name")
		refused(t, r, "loadBalancer.pools[1].addresses: say which addresses the pool has")
	}
}

func refused(t *testing.T, r release, says string) {
	t.Helper()
	out, err := r.try(t)
	if err == nil {
		t.Fatalf("accepted:\n%s\nrendered %s", r.values, parse(t, out))
	}
	if !strings.Contains(unquoted(err.Error()), unquoted(says)) {
		t.Errorf("the error does not say %q: %v", says, err)
	}
	if strings.Contains(err.Error(), "nil pointer") || strings.Contains(err.Error(), "error calling") {
		t.Errorf("a template failed by accident: %v", err)
	}
}
