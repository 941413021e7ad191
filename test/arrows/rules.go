package arrows

// rule forbids imports. A path stands for the package and all packages below it;
// paths of this module are written without the module's name.
type rule struct {
	from  []string // packages with the rule; empty: every package
	but   []string // exceptions among them
	never []string // imports that are forbidden
	tests bool     // true: the rule exempts tests
	why   string
}

const (
	apart = "the four subsystems never import one another: they exchange values, " +
		"or one-method interfaces that cmd or controllers pass"
	pure = "Build and Render are pure: equal input gives equal output, " +
		"so no context, no clock, no I/O, no log"
	one = "one library has one importing package: a new version, or another library, changes one place"
)

// rules are the arrows of the architecture:
//
//	cmd → controllers → {xds, tls, cni, proxy} → api
//	cmd → cmd/internal
//	controllers: inspect → {edge, node} → {certificates, assembly} → replicas → objects
//	xds/grpcserver → xds/server → xds/envoy → xds/route
//	xds/server → xds/proof/verifier → {xds/proof, xds/route}
//	xds/gateway → xds/proof
//	cni/plugin → cni/detach → {cni/ipam, cni/link}, cni/agent
//	cni/keeper → {cni/detach, cni/rules}
//	proxy/service, proxy/policy, cni/rules → proxy/nft
//	images → images/{oci, debian, envoy, sbom, libraries} → images/rootfs
var rules = []rule{
	// Between the layers.
	{
		from: []string{"api"}, never: []string{"cmd", "controllers", "xds", "tls", "cni", "proxy"},
		why: "any package may import api, which is vocabulary: it must not bring logic along",
	},
	{from: []string{"xds"}, never: []string{"tls", "cni", "proxy"}, why: apart},
	{from: []string{"tls"}, never: []string{"xds", "cni", "proxy"}, why: apart},
	{from: []string{"cni"}, but: []string{"cni/rules", "cni/keeper"}, never: []string{"xds", "tls", "proxy"}, why: apart},
	{
		from: []string{"cni/rules", "cni/keeper"}, never: []string{"xds", "tls", "proxy/service", "proxy/policy", "proxy/loadbalancer"},
		why: "the rules of the pod network are tables like any other's: they need proxy/nft, and nothing else of proxy",
	},
	{from: []string{"proxy"}, never: []string{"xds", "tls", "cni"}, why: apart},
	{
		from: []string{"xds", "tls", "cni", "proxy"}, never: []string{"cmd", "controllers"},
		why: "a subsystem does not know its caller: the same code serves a cluster, a folder and a test",
	},
	{
		from: []string{"controllers"}, never: []string{"cmd"},
		why: "cmd is wiring only: flags and processes end there",
	},
	{
		from: []string{"cmd/internal"}, never: []string{"controllers", "xds", "tls", "cni", "proxy"},
		why: "every process has health, memory and flags, whatever else it does",
	},
	{
		never: []string{"test"}, but: []string{"test"}, tests: true,
		why: "released code does not link test code",
	},

	// The images.
	{
		never: []string{"images"}, but: []string{"images", "test"},
		why: "images packs finished programs: a program does not know how it is packed",
	},
	{
		from: []string{"images"}, never: []string{"api", "cmd", "controllers", "xds", "tls", "cni", "proxy"},
		why: "images packs what go build has made: it links none of it",
	},
	{
		from: []string{"images/rootfs", "images/libraries"}, never: []string{"images/oci", "images/debian", "images/envoy", "images/sbom"},
		why: "files and ELF headers are values: they know neither where files come from nor who packs them",
	},
	{
		from: []string{"images/oci"}, never: []string{"images/debian", "images/envoy", "images/sbom", "images/libraries"},
		why: "oci packs any files: images alone says which",
	},

	// Between the rooms of controllers.
	{
		from:  []string{"controllers/objects"},
		never: []string{"controllers/replicas", "controllers/certificates", "controllers/assembly", "controllers/edge", "controllers/node", "controllers/inspect"},
		tests: true, why: "this room finds, watches and writes objects for any reconciler: it does not know the reconcilers",
	},
	{
		from:  []string{"controllers/replicas"},
		never: []string{"controllers/certificates", "controllers/assembly", "controllers/edge", "controllers/node", "controllers/inspect"},
		tests: true, why: "replicas agree on what their Envoys serve, whichever reconciler made it",
	},
	{
		from:  []string{"controllers/assembly"},
		never: []string{"controllers/objects", "controllers/replicas", "controllers/certificates", "controllers/edge", "controllers/node", "controllers/inspect"},
		tests: true, why: "the assembly knows no kinds: a kind is an entry in the list of a process",
	},
	{
		from:  []string{"controllers/certificates"},
		never: []string{"controllers/edge", "controllers/node", "controllers/inspect"},
		tests: true, why: "certificates are ordered and chosen by server name, whoever serves them",
	},
	{
		from:  []string{"controllers/edge"},
		never: []string{"controllers/node", "controllers/inspect"},
		tests: true, why: "the controllers of gateways and the agent of a node are two processes",
	},
	{
		from:  []string{"controllers/node"},
		never: []string{"controllers/edge", "controllers/certificates", "controllers/inspect"},
		tests: true, why: "the controllers of gateways and the agent of a node are two processes",
	},

	// Inside the subsystems.
	{
		from: []string{"xds/route"}, never: []string{"xds/envoy", "xds/server", "xds/grpcserver", "xds/gateway"},
		why: "the model says what must be served, not how Envoy is told",
	},
	{
		from: []string{"xds/envoy"}, never: []string{"xds/server", "xds/grpcserver", "xds/gateway"},
		why: "Render makes values: it does not know who delivers them",
	},
	{
		from: []string{"xds/server"}, never: []string{"xds/gateway"},
		why: "the server speaks to any Envoy, whoever runs it",
	},
	{
		from: []string{"xds/server"}, never: []string{"xds/grpcserver", "xds/identity"},
		why: "the server orders resources: sockets, limits of connections and certificates are not its business",
	},
	{
		from: []string{"xds/gateway"}, never: []string{"xds/server", "xds/grpcserver", "xds/proof/verifier"},
		why: "a gateway's process talks to the server over the wire: it must not link it",
	},
	{
		from: []string{"xds/proof"}, but: []string{"xds/proof/verifier"},
		never: []string{"xds/proof/verifier", "xds/route", "xds/envoy", "xds/server", "xds/gateway"},
		why:   "it is what the server and a gateway's process say to one another: neither must come along with the other's",
	},
	{
		from:  []string{"xds/proof"},
		never: []string{"xds/envoy", "xds/server", "xds/gateway", "context", "google.golang.org/grpc", "github.com/go-logr"},
		tests: true,
		why:   "it says what is to be proved and keeps what was: it opens no stream, and its owner's lock guards it",
	},
	{
		from:  []string{"proxy/nft"},
		never: []string{"proxy/service", "proxy/policy", "proxy/loadbalancer"},
		why:   "nft knows tables, not their purpose",
	},
	{
		from: []string{"proxy/service"}, never: []string{"proxy/policy", "proxy/loadbalancer"},
		why: "each owns tables of its own: either can be switched off",
	},
	{
		from: []string{"proxy/policy"}, never: []string{"proxy/service", "proxy/loadbalancer"},
		why: "each owns tables of its own: either can be switched off",
	},

	// What a package may know of its surroundings.
	{
		from:  []string{"xds/route", "xds/envoy"},
		never: []string{"context", "io/fs", "log", "math/rand", "os", "github.com/go-logr"},
		tests: true, why: pure,
	},
	{
		from:  []string{"xds/envoy", "xds/server"},
		never: []string{"k8s.io/api", "k8s.io/client-go"},
		tests: true, why: "it knows Envoy, not Kubernetes: xds/route has translated everything into Fairway's model",
	},
	{
		from:  []string{"tls/acme"},
		never: []string{"k8s.io", "sigs.k8s.io", "github.com/go-logr"},
		tests: true, why: "it knows neither Kubernetes nor who stores its orders: the same code serves a cluster and a folder",
	},
	{
		from:  []string{"cmd/fairway-cni", "cni/plugin", "cni/agent", "cni/ipam", "cni/link"},
		never: []string{"k8s.io", "sigs.k8s.io", "github.com/go-logr"},
		tests: true, why: smallPlugin,
	},
	{
		from: []string{"cni/agent", "cni/ipam", "cni/link"}, never: []string{"cni/plugin", "cni/mesh", "github.com/containernetworking/cni"},
		why: "the agent of a node uses them too: leases, wires and the socket know nothing of the plugin's calls",
	},
	{
		from: []string{"cni/ipam"}, never: []string{"cni/agent", "cni/link"},
		why: "a lease is a file of addresses: it does not know what is made of them",
	},
	{
		from:  []string{"cni/mesh", "cni/ranges"},
		never: []string{"cni/link", "k8s.io", "context", "os", "github.com/go-logr", "github.com/vishvananda/netlink"},
		why:   pure,
	},
	{
		from: []string{"cni/plugin", "cmd/fairway-cni"}, never: []string{"proxy", "cni/rules"},
		why: "the plugin writes no nftables: one writer of a node's tables, its agent",
	},

	// Only one package imports each library. Code under test/ uses Fairway from
	// outside, as a user does.
	{
		but: []string{"controllers", "cmd", "test"}, never: []string{"sigs.k8s.io/controller-runtime"},
		why: "controllers are the only users of controller-runtime: the subsystems work without a cluster",
	},
	{
		but:   []string{"xds/envoy", "xds/server", "xds/gateway", "test"},
		never: []string{"github.com/envoyproxy/go-control-plane"},
		why: "Envoy's messages stay inside xds, so that a new Envoy changes one place; " +
			"others pass values of xds/route, and wiring calls a function of xds/server",
	},
	{but: []string{"cni/link", "test"}, never: []string{"github.com/vishvananda/netlink"}, tests: true, why: one},
	{but: []string{"cni/plugin", "cmd/fairway-cni", "test"}, never: []string{"github.com/containernetworking/cni"}, tests: true, why: one},
	{but: []string{"proxy/nft", "test"}, never: []string{"github.com/mdlayher/netlink", "github.com/google/nftables"}, why: one},
	{but: []string{"tls/acme", "test"}, never: []string{"golang.org/x/crypto/acme"}, why: one},
	{but: []string{"tls/challenge/dns", "test"}, never: []string{"github.com/miekg/dns"}, why: one},
	{
		but: []string{"images/oci", "test/lab/cmd/registry"}, never: []string{"github.com/google/go-containerregistry"},
		why: one + "; the lab's registry is a server, which images/oci is not",
	},
	{but: []string{"images/oci"}, never: []string{"github.com/klauspost/compress"}, why: one},
	{but: []string{"images/debian"}, never: []string{"pault.ag/go/debian", "github.com/ProtonMail/go-crypto"}, why: one},
	{but: []string{"images/sbom"}, never: []string{"github.com/spdx/tools-golang"}, why: one},
}

const smallPlugin = "the container runtime starts the CNI plugin for every pod: " +
	"it is small, static, and needs no API server"

// nameless are names that do not say what a package is about, so that it attracts
// all kinds of code.
var nameless = []string{"util", "utils", "common", "helper", "helpers", "model", "models", "misc"}
