// Package install tests what "kubectl apply -k config" installs: the objects go
// into a real API server, and the programs run with the arguments, the
// environment and the rights that those objects give them.
package install_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/test/tools"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

const (
	patience       = 30 * time.Second
	namespace      = "fairway-system"
	controllerUser = "system:serviceaccount:fairway-system:fairway-controller"
	address        = "192.0.2.80" // of the load balancer
)

// drain is how long a gateway waits for clients that do not leave.
var drain = soak.Pick(4*time.Second, 10*time.Second)

// lease are flags with which a follower takes over sooner than by default. A soak
// keeps the defaults.
var lease = soak.Pick([]string{"--leader-lease-duration=5s", "--leader-renew-deadline=3s", "--leader-retry-period=500ms"}, nil)

// configured are gateways with settings of their own, one of each kind, and an
// Issuer that nobody answers for.
const configured = `
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: away}
spec: {directory: "https://127.0.0.1:1/directory", termsAgreed: true}
---
apiVersion: fairway.dev/v1alpha1
kind: ClusterGatewayConfig
metadata: {name: edge}
---
apiVersion: fairway.dev/v1alpha1
kind: GatewayConfig
metadata: {name: inner, namespace: default}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: edge}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: ClusterGatewayConfig, name: edge, scope: Cluster}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: inner}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: GatewayConfig, name: inner, namespace: default, scope: Namespace}
`

// installed is a cluster with what config installs.
type installed struct {
	*cluster.Cluster

	client client.Client
	config string // path of the controller's kubeconfig
	xds    []string
}

func install(t *testing.T, flags ...string) *installed {
	t.Helper()
	log.SetLogger(logr.Discard())
	c := cluster.Start(t, cluster.Options{APIServerFlags: flags})
	c.Kubectl(t, "", "apply", "--server-side", "-k", "../../config")
	admin, err := client.New(c.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.WriteKubeconfig(c.ServiceAccount(namespace, "fairway-controller"))
	if err != nil {
		t.Fatal(err)
	}
	return &installed{Cluster: c, client: admin, config: config}
}

func (i *installed) get(t *testing.T, name string, object client.Object) {
	t.Helper()
	if err := i.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
}

// container is the only one of the Deployment.
func (i *installed) container(t *testing.T, deployment string) corev1.Container {
	t.Helper()
	d := &appsv1.Deployment{}
	i.get(t, deployment, d)
	return d.Spec.Template.Spec.Containers[0]
}

// with is the arguments with those of the same name replaced and the rest added.
func with(arguments []string, others ...string) []string {
	all := slices.Clone(arguments)
	for _, other := range others {
		name, _, _ := strings.Cut(other, "=")
		at := slices.IndexFunc(all, func(a string) bool { return strings.HasPrefix(a, name+"=") })
		if at < 0 {
			all = append(all, other)
		} else {
			all[at] = other
		}
	}
	return all
}

// process is a program in the place of a pod.
type process struct {
	*fairway.Program

	pod                string
	xds, metrics, acme netip.AddrPort
}

// startController runs what a pod of the Deployment would, here, and returns
// when it is ready.
func (i *installed) startController(t *testing.T, pod string) *process {
	t.Helper()
	p := &process{pod: pod, xds: fairway.FreePort(t), metrics: fairway.FreePort(t), acme: fairway.FreePort(t)}
	i.xds = append(i.xds, p.xds.String())
	i.restart(t, p)
	return p
}

// restart runs a controller (again) and returns when it is ready.
func (i *installed) restart(t *testing.T, p *process, flags ...string) {
	t.Helper()
	p.Program = fairway.Fairway(t, p.pod, []string{"POD_NAME=" + p.pod, "POD_NAMESPACE=" + namespace},
		with(i.container(t, "fairway-controller").Args, append(slices.Concat(lease, flags),
			"--kubeconfig="+i.config, "--address=0.0.0.0", "--access-log=false",
			"--xds-address="+p.xds.String(), "--metrics-address="+p.metrics.String(), "--acme-address="+p.acme.String())...)...)
	fairway.Eventually(t, patience, p.ready)
}

// ready is what the kubelet asks.
func (p *process) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics.String()+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", p.pod, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", p.pod, response.Status)
	}
	return nil
}

// startGateway runs what a pod of the Deployment would, here, with the Secret
// mounted.
func (i *installed) startGateway(t *testing.T, pod string) *process {
	t.Helper()
	dir := t.TempDir()
	secret := &corev1.Secret{}
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		return i.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "fairway-gateway-default"}, secret)
	})
	for name, content := range secret.Data {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	envoy, err := tools.Find("envoy")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{pod: pod, metrics: fairway.FreePort(t)}
	p.Program = fairway.Fairway(t, pod, []string{"POD_NAME=" + pod, "POD_NAMESPACE=" + namespace},
		with(i.container(t, "fairway-gateway").Args,
			"--envoy="+envoy, "--drain-timeout="+drain.String(), "--tls-dir="+dir, "--metrics-address="+p.metrics.String(), "--xds="+strings.Join(i.xds, ","))...)
	fairway.Eventually(t, patience, p.ready)
	return p
}

// What is installed serves, shows its address, and uses every right that it has.
func TestWhatIsInstalledServes(t *testing.T) {
	requests := filepath.Join(t.TempDir(), "audit.log")
	i := install(t, audit(t, requests)...)
	controllers := []*process{i.startController(t, "fairway-controller-a"), i.startController(t, "fairway-controller-b")}
	i.startGateway(t, "fairway-gateway-a")

	i.balance(t)
	fairway.Backend(t, "shop", "10.77.1.1")
	good, bad := fairway.Ingress("shop", "fairway", "shop.test", "/", "shop"), fairway.Ingress("bad", "fairway", "bad.test", "/", "absent")
	i.create(t, fairway.Service("shop"), fairway.Slice("shop", "10.77.1.1"), good, bad)
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "shop"))
	fairway.Eventually(t, patience, i.shows(good, address))
	certificate := fairway.NewAuthority(t).Secret(t, "secure", fairway.Wish{Names: []string{"secure.test"}})
	secure := fairway.Ingress("secure", "fairway", "secure.test", "/", "shop")
	secure.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"secure.test"}, SecretName: "secure"}}
	i.create(t, certificate, secure)
	fairway.Eventually(t, patience, fairway.Presents("secure.test", certificate))
	fairway.Eventually(t, patience, i.shows(secure, address))
	// Envoy binds other ports than the Service has, which are those that clients use.
	plain, err := fairway.Get(t.Context(), "shop.test", "/")
	if got := plain.Header.Get("Port-Was"); err != nil || got != "80" {
		t.Errorf("over HTTP X-Forwarded-Port is %q, %v; want 80", got, err)
	}
	encrypted, err := fairway.GetTLS(t.Context(), "secure.test", "/")
	if got := encrypted.Header.Get("Port-Was"); err != nil || got != "443" {
		t.Errorf("over HTTPS X-Forwarded-Port is %q, %v; want 443", got, err)
	}
	redirected, err := fairway.Get(t.Context(), "secure.test", "/")
	if got := redirected.Header.Get("Location"); err != nil || got != "https://secure.test/" {
		t.Errorf("requests over HTTP are sent to %q, %v", got, err)
	}
	fairway.Eventually(t, patience, func(context.Context) error {
		events, err := i.TryKubectl("", "get", "events", "-A", "-o", "name")
		if err == nil && !strings.Contains(events, "bad") {
			err = fmt.Errorf("no event on the bad Ingress:\n%s", events)
		}
		return err
	})
	// The leader goes; the other takes over.
	controllers[0].Kill()
	next := fairway.Ingress("next", "fairway", "next.test", "/", "shop")
	i.create(t, next)
	fairway.Eventually(t, patience, fairway.Answers("next.test", "/", "shop"))
	fairway.Eventually(t, 2*patience, i.shows(next, address))
	i.Kubectl(t, configured, "apply", "-f", "-")
	for _, config := range []string{"clustergatewayconfig/edge", "gatewayconfig/inner"} {
		i.Kubectl(t, "", "wait", "--for=condition=Accepted", "--timeout=30s", "-n", "default", config)
	}
	i.Kubectl(t, "", "wait", "--for=condition=Ready=False", "--timeout=30s", "issuer/away")
	i.declareForAWhile(t)
	// What a route leads to goes: the API server itself is asked before it breaks.
	if err := i.client.Delete(t.Context(), fairway.Service("shop")); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, fairway.Status("shop.test", "/", http.StatusServiceUnavailable))
	for _, p := range controllers {
		if said := p.Complaints(); len(said) > 0 {
			t.Errorf("a controller says\n%s", strings.Join(said, "\n"))
		}
	}
	i.checkRights(t, requests)
}

// declareForAWhile declares an object of each kind in the ConfigMap, and takes both out again.
func (i *installed) declareForAWhile(t *testing.T) {
	t.Helper()
	change := func(issuer, config string) {
		i.Kubectl(t, "", "-n", namespace, "patch", "configmap", "fairway-declared", "--type=merge", "--patch",
			fmt.Sprintf(`{"data": {"issuer.declared.yaml": %s, "config.declared.yaml": %s}}`, issuer, config))
	}
	change(`"{apiVersion: fairway.dev/v1alpha1, kind: Issuer, metadata: {name: declared}, spec: {directory: 'https://127.0.0.1:1/directory'}}"`,
		`"{apiVersion: fairway.dev/v1alpha1, kind: ClusterGatewayConfig, metadata: {name: declared}}"`)
	objects := []string{"issuer/declared", "clustergatewayconfig/declared"}
	i.Kubectl(t, "", append([]string{"wait", "--for=create", "--timeout=30s"}, objects...)...)
	change("null", "null")
	i.Kubectl(t, "", append([]string{"wait", "--for=delete", "--timeout=30s"}, objects...)...)
}

// balance gives the gateway's Service its address, as a load balancer does.
func (i *installed) balance(t *testing.T) {
	t.Helper()
	service := &corev1.Service{}
	i.get(t, "fairway-gateway", service)
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	if err := i.client.Status().Update(t.Context(), service); err != nil {
		t.Fatal(err)
	}
}

// shows says whether the Ingress shows the address.
func (i *installed) shows(ingress *networkingv1.Ingress, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		found := &networkingv1.Ingress{}
		if err := i.client.Get(ctx, client.ObjectKeyFromObject(ingress), found); err != nil {
			return err
		}
		if shown := found.Status.LoadBalancer.Ingress; len(shown) != 1 || shown[0].IP != address {
			return fmt.Errorf("%s shows %v, want %s", ingress.Name, shown, address)
		}
		return nil
	}
}

// idle says when a right is used that a short life such as a test's makes no use
// of; empty: never.
func idle(r right) string {
	if r.Verb == "list" {
		return "by an API server that does not stream what is there to a watch"
	}
	return map[string]string{
		"patch events.core":                                "when an object goes wrong in the same way again",
		"patch secrets.core":                               "when a certificate is ordered: test/issuance",
		"update secrets.core fairway-system":               "when a certificate is renewed",
		"delete secrets.core fairway-system":               "when a gateway is gone",
		"delete leases.coordination.k8s.io fairway-system": "when the Lease of a replica has been out of date for long",
	}[r.String()]
}

// checkRights lists what is granted and was never used.
func (i *installed) checkRights(t *testing.T, requests string) {
	t.Helper()
	var all []right
	var everywhere rbacv1.ClusterRoleList
	var inside rbacv1.RoleList
	if err := i.client.List(t.Context(), &everywhere); err != nil {
		t.Fatal(err)
	}
	if err := i.client.List(t.Context(), &inside, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, role := range everywhere.Items {
		if strings.HasPrefix(role.Name, "fairway-") {
			all = append(all, granted("", role.Rules)...)
		}
	}
	for _, role := range inside.Items {
		all = append(all, granted(namespace, role.Rules)...)
	}
	was := used(t, requests)
	for _, r := range all {
		if !was[r] && idle(r) == "" {
			t.Errorf("%s is granted and was never used", r)
		}
	}
	if len(all) == 0 {
		t.Error("nothing is granted: are these the roles?")
	}
}

// The cluster accepts the Deployments and spreads their pods.
func TestDeployments(t *testing.T) {
	i := install(t)
	t.Run("pods are admitted", func(t *testing.T) { testPodsAreAdmitted(t, i) })
	t.Run("a roll-out spreads its pods", func(t *testing.T) { testARollOutSpreadsItsPods(t, i) })
}

// Pods of ours are what the namespace's own rules allow.
func testPodsAreAdmitted(t *testing.T, i *installed) {
	for _, name := range []string{"fairway-controller", "fairway-gateway"} {
		d := &appsv1.Deployment{}
		i.get(t, name, d)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: d.Spec.Template.Labels},
			Spec:       d.Spec.Template.Spec,
		}
		if err := i.client.Create(t.Context(), pod); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A roll-out puts its pods on different nodes: the scheduler does not count those
// that it replaces.
func testARollOutSpreadsItsPods(t *testing.T, i *installed) {
	for _, name := range []string{"fairway-controller", "fairway-gateway"} {
		d := &appsv1.Deployment{}
		i.get(t, name, d)
		constraints := d.Spec.Template.Spec.TopologySpreadConstraints
		spread := slices.ContainsFunc(constraints, func(c corev1.TopologySpreadConstraint) bool {
			selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
			return err == nil && !selector.Empty() && selector.Matches(labels.Set(d.Spec.Template.Labels)) &&
				c.TopologyKey == corev1.LabelHostname && slices.Contains(c.MatchLabelKeys, appsv1.DefaultDeploymentUniqueLabelKey)
		})
		if !spread {
			t.Errorf("%s is not spread over nodes by the pods of a roll-out: %v", name, constraints)
		}
	}
}

// A gateway on every node needs the node's ports, and the namespace admits them.
func TestTheDaemonSetIsAdmitted(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.Kubectl(t, "", "apply", "--server-side", "-k", "../../config/daemonset")
	printed := c.Kubectl(t, "", "get", "daemonset,deployment,service", "-n", namespace, "-o", "name")
	want := "daemonset.apps/fairway-gateway\ndeployment.apps/fairway-controller\nservice/fairway-controller\n"
	if printed != want {
		t.Errorf("installed\n%swant\n%s", printed, want)
	}
}
