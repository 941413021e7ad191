// Package installations tests several installations of Fairway in one cluster, two
// of them in one namespace: none takes anything from another.
package installations_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

// patience is how long a change may take on a machine that is busy otherwise.
const patience = 2 * time.Minute

// each is how many Ingresses an installation serves.
const each = 10

// party is an installation, with the class and the Ingresses that it serves.
type party struct {
	*fairway.Installation

	class      string // also in the names of its Ingresses and their hosts
	controller string // of the class
	name       installation.Name
	home       string
	port       int    // of its Envoys
	address    string // that it gives Ingresses
	manager    string // by which it writes addresses
	conditions string // by which it writes conditions
}

// parties are three installations. Two share a namespace, two a name. One has taken
// over the classes of another product.
func parties() []*party {
	return []*party{
		{
			class: "red", controller: "fairway.dev/ingress-controller", home: "fairway-system", port: 8081,
			address: "192.0.2.1", manager: "fairway", conditions: "fairway-controller",
		},
		{
			class: "blue", controller: "fairway.dev/blue", name: "blue", home: "fairway-system", port: 8082,
			address: "192.0.2.2", manager: "blue-controller.fairway-system", conditions: "blue-controller.fairway-system",
		},
		{
			class: "green", controller: "k8s.io/ingress-nginx", home: "team-green", port: 8083,
			address: "192.0.2.3", manager: "fairway-controller.team-green", conditions: "fairway-controller.team-green",
		},
	}
}

// start runs all installations in one cluster, and their Ingresses.
func start(t *testing.T) []*party {
	t.Helper()
	fairway.Backend(t, "shop", "10.77.1.1")
	all := parties()
	for i, p := range all {
		options := fairway.Options{Name: p.name, Home: p.home, Flags: []string{
			"--controller-value", p.controller, "--publish-address", p.address,
			"--http-port", fmt.Sprint(p.port), "--https-port", fmt.Sprint(p.port + 1000),
			"--xds-identity=files",
		}}
		if i > 0 {
			options.Cluster = all[0].Cluster
		} else {
			options.Before = func(r *fairway.Installation) {
				r.InstallCustomResources(t)
				r.Create(t, objects()...)
			}
		}
		p.Installation = fairway.Start(t, options)
	}
	return all
}

// objects are the classes and Ingresses of all parties, and the settings of the
// gateway that has the same name for all of them.
func objects() []client.Object {
	all := []client.Object{
		fairway.Service("shop"), fairway.Slice("shop", "10.77.1.1"),
		&v1alpha1.ClusterGatewayConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.GatewayConfigSpec{TrustedHops: new(int32(1))}},
	}
	for _, p := range parties() {
		class := fairway.Class(p.class)
		class.Spec.Controller = p.controller
		all = append(all, class)
		for i := range each {
			name := p.ingress(i)
			all = append(all, fairway.Ingress(name, p.class, name+".test", "/", "shop"))
		}
	}
	return all
}

func (p *party) ingress(i int) string { return fmt.Sprintf("%s-%d", p.class, i) }

// managers are the field managers that have written an object's status.
func managers(object client.Object) []string {
	var all []string
	for _, entry := range object.GetManagedFields() {
		if entry.Subresource == "status" {
			all = append(all, entry.Manager)
		}
	}
	return all
}

// served is a check for Eventually: each Ingress of the party has its address, and
// nobody else has written one; its Envoys serve it, and no other party's.
func (p *party) served(all []*party) func(context.Context) error {
	return func(ctx context.Context) error {
		for i := range each {
			ing := &networkingv1.Ingress{}
			if err := p.Client.Get(ctx, client.ObjectKey{Namespace: fairway.Namespace, Name: p.ingress(i)}, ing); err != nil {
				return err
			}
			if got := ing.Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != p.address {
				return fmt.Errorf("ingress %s has the addresses %v, want %s", ing.Name, got, p.address)
			}
			if got := managers(ing); !slices.Equal(got, []string{p.manager}) {
				return fmt.Errorf("the status of ingress %s was written by %q, want %q", ing.Name, got, p.manager)
			}
		}
		for _, other := range all {
			want := http.StatusNotFound
			if other == p {
				want = http.StatusOK
			}
			for i := range each {
				a, err := fairway.GetAt(ctx, p.port, other.ingress(i)+".test", "/")
				if err != nil {
					return err
				}
				if a.Status != want {
					return fmt.Errorf("Envoy of %s: host %s.test: status %d, want %d", p.class, other.ingress(i), a.Status, want)
				}
			}
		}
		return nil
	}
}

// versions are the resource versions of all Ingresses of the party and of the
// gateway's settings: whoever writes any changes them.
func (p *party) versions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for i := range each {
		ing := &networkingv1.Ingress{}
		if err := p.Client.Get(t.Context(), client.ObjectKey{Namespace: fairway.Namespace, Name: p.ingress(i)}, ing); err != nil {
			t.Fatal(err)
		}
		found[ing.Name] = ing.ResourceVersion
	}
	config := &v1alpha1.ClusterGatewayConfig{}
	if err := p.Client.Get(t.Context(), client.ObjectKey{Name: "default"}, config); err != nil {
		t.Fatal(err)
	}
	found["default"] = config.ResourceVersion
	return found
}

// leases are the holders of the Leases of controllers, by namespace/name.
func leases(ctx context.Context, r *fairway.Installation) (map[string]string, error) {
	var list coordinationv1.LeaseList
	err := r.Client.List(ctx, &list)
	found := map[string]string{}
	for _, lease := range list.Items {
		if lease.Spec.HolderIdentity != nil && strings.Contains(lease.Name, "controller") {
			found[lease.Namespace+"/"+lease.Name] = *lease.Spec.HolderIdentity
		}
	}
	return found, err
}

func TestInstallationsTakeNothingFromOneAnother(t *testing.T) {
	all := start(t)
	for _, p := range all {
		fairway.Eventually(t, patience, p.served(all))
		fairway.Eventually(t, patience, p.Replicas[0].Says("fairway_leader 1"))
	}
	t.Run("the Leases of each", func(t *testing.T) { testLeases(t, all) })
	t.Run("one writes the condition of settings that all use", func(t *testing.T) { testCondition(t, all) })
	t.Run("nobody writes again", func(t *testing.T) { testQuiet(t, all) })
	t.Run("status", func(t *testing.T) { testStatus(t, all) })
	t.Run("explain", func(t *testing.T) { testExplain(t, all) })
	t.Run("an Ingress moves", func(t *testing.T) { testMoves(t, all) })
	t.Run("one ends", func(t *testing.T) { testEnds(t, all) })
}

func testLeases(t *testing.T, all []*party) {
	found, err := leases(t.Context(), all[0].Installation)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"fairway-system/fairway-controller", "fairway-system/fairway-controller-replica-0",
		"fairway-system/blue-controller", "fairway-system/blue-controller-replica-0",
		"team-green/fairway-controller", "team-green/fairway-controller-replica-0",
	} {
		if found[name] == "" {
			t.Errorf("nobody holds Lease %s; there are %v", name, found)
		}
	}
	if len(found) != 6 {
		t.Errorf("there are other Leases: %v", found)
	}
}

// condition is a check for Eventually: one manager has written the condition of the
// settings, which say that they are accepted.
func condition(r *fairway.Installation, name, manager, reason string) func(context.Context) error {
	return func(ctx context.Context) error {
		config := &v1alpha1.ClusterGatewayConfig{}
		if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, config); err != nil {
			return err
		}
		c := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Reason != reason {
			return fmt.Errorf("%s has the condition %+v, want reason %s", name, c, reason)
		}
		if got := managers(config); !slices.Equal(got, []string{manager}) {
			return fmt.Errorf("the condition of %s was written by %q, want %q", name, got, manager)
		}
		return nil
	}
}

// The classes of all parties lead to the gateway "default". Beside that, settings that
// no class names are told of by the usual installation, until a class names them; then
// by the one whose class it is.
func testCondition(t *testing.T, all []*party) {
	red, blue := all[0], all[1]
	fairway.Eventually(t, patience, condition(red.Installation, "default", red.conditions, v1alpha1.ReasonAccepted))
	red.Create(t, &v1alpha1.ClusterGatewayConfig{ObjectMeta: metav1.ObjectMeta{Name: "inner"}})
	fairway.Eventually(t, patience, condition(red.Installation, "inner", red.conditions, v1alpha1.ReasonUnused))
	class := fairway.Class("blue-inner")
	class.Spec.Controller = blue.controller
	class.Spec.Parameters = &networkingv1.IngressClassParametersReference{
		APIGroup: new(v1alpha1.GroupName), Kind: "ClusterGatewayConfig", Name: "inner", Scope: new("Cluster"),
	}
	red.Create(t, class)
	fairway.Eventually(t, patience, condition(red.Installation, "inner", blue.conditions, v1alpha1.ReasonAccepted))
	if err := red.Client.Delete(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, condition(red.Installation, "inner", red.conditions, v1alpha1.ReasonUnused))
}

func testQuiet(t *testing.T, all []*party) {
	before := make([]map[string]string, len(all))
	for i, p := range all {
		before[i] = p.versions(t)
	}
	fairway.Throughout(t, 5*time.Second, func(context.Context) error {
		for i, p := range all {
			for name, version := range p.versions(t) {
				if version != before[i][name] {
					return fmt.Errorf("somebody has written %s again", name)
				}
			}
		}
		return nil
	})
}

// overview is what the test reads of fairway status.
type overview struct {
	Installations []struct{ Namespace, Name, Controller string }
	Controllers   []struct {
		Namespace, Installation, Identity string
		Leader                            bool
	}
	Gateways []struct {
		Name, Controller string
		Hosts, Envoys    int
	}
	Ingresses []struct{ Name, State, Controller string }
	Others    int
}

func status(t *testing.T, r *fairway.Installation, flags ...string) (overview, fairway.Said) {
	t.Helper()
	said := r.Fairway(t, r.Cluster.Config, append([]string{"status", "-o", "json"}, flags...)...)
	var seen overview
	if err := json.Unmarshal([]byte(said.Out), &seen); err != nil && said.Code < 2 {
		t.Fatalf("%v: %s%s", err, said.Out, said.Err)
	}
	return seen, said
}

func testStatus(t *testing.T, all []*party) {
	r := all[0].Installation
	seen, said := status(t, r)
	if said.Code != 0 || len(seen.Installations) != 3 || len(seen.Ingresses) != 3*each || seen.Others != 0 {
		t.Errorf("status ends with %d, of %d installations and %d Ingresses, beside %d others:\n%s",
			said.Code, len(seen.Installations), len(seen.Ingresses), seen.Others, said.Out)
	}
	for _, c := range seen.Controllers {
		if !c.Leader {
			t.Errorf("controller %s/%s of %s does not lead", c.Namespace, c.Identity, c.Installation)
		}
	}
	for _, i := range seen.Ingresses {
		if i.State != "Served" {
			t.Errorf("Ingress %s is %s", i.Name, i.State)
		}
	}
	for _, g := range seen.Gateways {
		if g.Name != "default" || g.Hosts != each || g.Envoys != 1 {
			t.Errorf("gateway %+v", g)
		}
	}
	for flags, want := range map[string]string{
		"--installation blue":                                                      "blue",
		"--installation team-green/fairway":                                        "green",
		"--installation fairway-system/fairway":                                    "red",
		"--controller-value fairway.dev/blue":                                      "blue",
		"--controller-value k8s.io/ingress-nginx":                                  "green",
		"--installation fairway --controller-value fairway.dev/ingress-controller": "red",
	} {
		seen, said := status(t, r, strings.Fields(flags)...)
		if len(seen.Ingresses) != each || len(seen.Controllers) != 1 || seen.Others != 2*each {
			t.Errorf("status %s: %s%s", flags, said.Out, said.Err)
			continue
		}
		for _, i := range seen.Ingresses {
			if !strings.HasPrefix(i.Name, want+"-") {
				t.Errorf("status %s shows Ingress %s", flags, i.Name)
			}
		}
	}
	for flags, want := range map[string]string{
		"--installation fairway":     "there are several installations \"fairway\"",
		"--installation yellow":      "there is no installation \"yellow\"; there are fairway-system/blue",
		"--controller-value fairway": "is no DOMAIN/PATH",
	} {
		if _, said := status(t, r, strings.Fields(flags)...); said.Code != 2 || !strings.Contains(said.Err, want) {
			t.Errorf("status %s ends with %d: %s, want %s", flags, said.Code, said.Err, want)
		}
	}
}

func testExplain(t *testing.T, all []*party) {
	r := all[0].Installation
	for _, p := range all {
		said := r.Fairway(t, r.Cluster.Config, "explain", "http://"+p.ingress(3)+".test/")
		if said.Code != 0 || !strings.Contains(said.Out, "Service default/shop answers.") || !strings.Contains(said.Out, "1 Envoy") {
			t.Errorf("explain of a host of %s ends with %d:\n%s%s", p.class, said.Code, said.Out, said.Err)
		}
		if special := strings.Contains(said.Out, "default of controller "+p.controller); special == (p.class == "red") {
			t.Errorf("explain of a host of %s does not say whose gateway it is:\n%s", p.class, said.Out)
		}
	}
	said := r.Fairway(t, r.Cluster.Config, "explain", "http://green-1.test/", "--controller-value", "fairway.dev/blue")
	if want := `it belongs to controller "k8s.io/ingress-nginx", which installation team-green/fairway serves`; said.Code != 1 || !strings.Contains(said.Out, want) {
		t.Errorf("explain ends with %d:\n%s%s, want %s", said.Code, said.Out, said.Err, want)
	}
}

// An Ingress that names another class gets the other installation's address, and
// nothing of the first stays.
func testMoves(t *testing.T, all []*party) {
	red, blue := all[0], all[1]
	moving := fairway.Ingress("moving", red.class, "moving.test", "/", "shop")
	red.Create(t, moving)
	for _, p := range []*party{red, blue, red} {
		red.Cluster.Kubectl(t, "", "patch", "ingress", "moving", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"ingressClassName":%q}}`, p.class))
		fairway.Eventually(t, patience, func(ctx context.Context) error {
			if err := red.Client.Get(ctx, client.ObjectKeyFromObject(moving), moving); err != nil {
				return err
			}
			if got := moving.Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != p.address || !slices.Equal(managers(moving), []string{p.manager}) {
				return fmt.Errorf("of class %s it has %v, written by %q", p.class, got, managers(moving))
			}
			return nil
		})
	}
	if err := red.Client.Delete(t.Context(), moving); err != nil {
		t.Fatal(err)
	}
}

// While one installation ends, and after it, nothing changes at the others.
func testEnds(t *testing.T, all []*party) {
	red, blue, green := all[0], all[1], all[2]
	before := map[*party]map[string]string{red: red.versions(t), green: green.versions(t)}
	if err := blue.Controller.Stop(t, patience); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		found, err := leases(ctx, red.Installation)
		if err == nil && found["fairway-system/blue-controller-replica-0"] != "" {
			err = fmt.Errorf("the Lease of its replica is there")
		}
		return err
	})
	fairway.Throughout(t, 5*time.Second, func(context.Context) error {
		for p, versions := range before {
			for name, version := range p.versions(t) {
				if version != versions[name] {
					return fmt.Errorf("%s was written", name)
				}
			}
		}
		return nil
	})
	for _, p := range []*party{red, green} {
		fairway.Eventually(t, patience, p.served([]*party{red, green}))
		fairway.Eventually(t, patience, p.Replicas[0].Says("fairway_leader 1"))
	}
	// What it had given stays: its Envoys still serve, and it may come back.
	fairway.Eventually(t, patience, blue.served([]*party{red, blue, green}))
}

// Two installations of one namespace have an authority each, and neither looks at the
// other's Secrets.
func TestInstallationsHaveAuthoritiesOfTheirOwn(t *testing.T) {
	first := fairway.Start(t, fairway.Options{Envoys: -1, Flags: []string{"--xds-identity=managed"}})
	second := fairway.Start(t, fairway.Options{
		Cluster: first.Cluster, Name: "blue", Envoys: -1,
		Flags: []string{"--controller-value=fairway.dev/blue", "--xds-identity=managed"},
	})
	secrets := map[string]*corev1.Secret{}
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		for _, name := range []string{
			"fairway-ca", "fairway-controller-tls", "fairway-gateway-default", "blue-ca", "blue-controller-tls", "blue-gateway-default",
		} {
			secret := &corev1.Secret{}
			if err := first.Client.Get(ctx, client.ObjectKey{Namespace: "fairway-system", Name: name}, secret); err != nil {
				return err
			}
			if strings.HasPrefix(name, "blue-") != (secret.Labels[installation.Label] == "blue") {
				return fmt.Errorf("secret %s has the labels %v", name, secret.Labels)
			}
			secrets[name] = secret
		}
		return nil
	})
	if string(secrets["fairway-ca"].Data["ca.crt"]) == string(secrets["blue-ca"].Data["ca.crt"]) {
		t.Error("they have one authority")
	}
	for name, want := range map[string][]string{
		"fairway-controller-tls": {"fairway-controller", "fairway-controller.fairway-system", "fairway-controller.fairway-system.svc"},
		"blue-controller-tls":    {"fairway-controller", "blue-controller", "blue-controller.fairway-system", "blue-controller.fairway-system.svc"},
	} {
		if got := dnsNames(t, secrets[name].Data["tls.crt"]); !slices.Equal(got, want) {
			t.Errorf("the certificate in %s is for %q, want %q", name, got, want)
		}
	}
	// The ready check tells that each has found its own.
	fairway.Eventually(t, patience, first.Ready)
	fairway.Eventually(t, patience, second.Ready)
	// When one of them makes its Secrets anew, the other's stay.
	version := secrets["fairway-ca"].ResourceVersion
	if err := first.Client.Delete(t.Context(), secrets["blue-ca"]); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		secret := &corev1.Secret{}
		err := first.Client.Get(ctx, client.ObjectKey{Namespace: "fairway-system", Name: "blue-ca"}, secret)
		if err == nil && secret.UID == secrets["blue-ca"].UID {
			err = apierrors.NewNotFound(corev1.Resource("secrets"), "a new blue-ca")
		}
		return err
	})
	secret := &corev1.Secret{}
	if err := first.Client.Get(t.Context(), client.ObjectKey{Namespace: "fairway-system", Name: "fairway-ca"}, secret); err != nil || secret.ResourceVersion != version {
		t.Errorf("the other's authority was written: %v", err)
	}
}
