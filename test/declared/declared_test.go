// Package declared tests that the leader makes what a ConfigMap declares, with a
// real API server and the rights in config/rbac. Nothing collects
// garbage there, so the tests look at owner references.
package declared_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

const (
	patience = 30 * time.Second
	label    = "fairway.dev/declared-by"
	mark     = "fairway-system.fairway-declared"
	owner    = "fairway-controller-cluster"
)

var configMap = types.NamespacedName{Namespace: "fairway-system", Name: "fairway-declared"}

// installation is one whose controller has the flag --declared.
type installation struct{ *fairway.Installation }

func start(t *testing.T, data map[string]string, namespaces ...string) installation {
	t.Helper()
	return installation{fairway.Start(t, fairway.Options{
		Envoys: -1, Namespaces: namespaces,
		Flags:  []string{"--declared", configMap.Name, "--watch-namespaces", strings.Join(namespaces, ",")},
		Before: func(r *fairway.Installation) { r.Create(t, of(configMap, data)) },
	})}
}

func of(name types.NamespacedName, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: data}
}

// declare replaces what the ConfigMap declares.
func (i installation) declare(t *testing.T, name types.NamespacedName, data map[string]string) {
	t.Helper()
	object := of(name, data)
	if err := i.Client.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func config(name, spec string) string {
	return "apiVersion: fairway.dev/v1alpha1\nkind: ClusterGatewayConfig\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

// issuer is one whose authority does not exist.
func issuer(name, spec string) string {
	return "apiVersion: fairway.dev/v1alpha1\nkind: Issuer\nmetadata: {name: " + name +
		"}\nspec: {directory: \"https://127.0.0.1:1/directory\", termsAgreed: true" + spec + "}\n"
}

// standard declares one object of each kind.
func standard() map[string]string {
	return map[string]string{
		"owner":            "ClusterRole/" + owner,
		"default.yaml":     config("default", "httpPort: 8081, limits: {requestBody: 10Mi}"),
		"letsencrypt.yaml": issuer("letsencrypt", ""),
	}
}

// get returns the object of that kind and name; nil: there is none.
func get[O client.Object](ctx context.Context, i installation, object O, name string) (found O, err error) {
	err = i.Client.Get(ctx, client.ObjectKey{Name: name}, object)
	if apierrors.IsNotFound(err) {
		return found, nil
	}
	return object, err
}

// hasPort is a check for Eventually: a ClusterGatewayConfig has the HTTP port; 0:
// there is no such object.
func (i installation) hasPort(name string, want int32) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := get(ctx, i, &v1alpha1.ClusterGatewayConfig{}, name)
		switch {
		case err != nil:
			return err
		case found == nil && want != 0:
			return fmt.Errorf("there is no configuration %s", name)
		case found != nil && (want == 0 || found.Spec.HTTPPort == nil || *found.Spec.HTTPPort != want):
			return fmt.Errorf("configuration %s has the port %v, want %d", name, found.Spec.HTTPPort, want)
		}
		return nil
	}
}

// hasIssuer is a check for Eventually.
func (i installation) hasIssuer(name string, want bool) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := get(ctx, i, &v1alpha1.Issuer{}, name)
		if err == nil && (found != nil) != want {
			err = fmt.Errorf("issuer %s is there: %t, want %t", name, !want, want)
		}
		return err
	}
}

// tells is a check for Eventually: there is an event about the ConfigMap, and the
// command status has the Problem, with the words.
func (i installation) tells(t *testing.T, reason, words string) func(context.Context) error {
	return func(context.Context) error {
		events, err := i.Cluster.TryKubectl("", "describe", "configmap", "-n", configMap.Namespace, configMap.Name)
		if err == nil && !hasLine(events, reason, words) {
			err = fmt.Errorf("kubectl describe shows no event %s with %q:\n%s", reason, words, events)
		}
		if said := i.Fairway(t, i.Cluster.Config, "status"); err == nil && (!hasLine(said.Out, reason, words) || said.Code != 1) {
			err = fmt.Errorf("status (exit code %d) does not tell of %s with %q:\n%s%s", said.Code, reason, words, said.Out, said.Err)
		}
		return err
	}
}

// quiet is a check for Eventually: the ConfigMap has no Problem any more.
func (i installation) quiet(t *testing.T) func(context.Context) error {
	return func(context.Context) error {
		if said := i.Fairway(t, i.Cluster.Config, "status"); strings.Contains(said.Out, "ConfigMap "+configMap.String()) {
			return fmt.Errorf("status still tells of the ConfigMap:\n%s", said.Out)
		}
		return nil
	}
}

func hasLine(text, reason, words string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, reason) && strings.Contains(line, words) {
			return true
		}
	}
	return false
}

// A first install makes the ConfigMap, and starts the controller, before the API
// server knows the kinds. The namespaces that the controller watches do not matter.
func TestObjectsAreMadeWhenTheirKindsCome(t *testing.T) {
	i := start(t, standard(), "shop")
	fairway.Eventually(t, patience, i.Ready)
	fairway.Eventually(t, patience, i.tells(t, "KindNotInstalled", "the cluster does not have the kind Issuer"))
	i.InstallCustomResources(t)
	began := time.Now()
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	fairway.Eventually(t, patience, i.hasIssuer("letsencrypt", true))
	t.Logf("made %s after the kinds", time.Since(began).Round(time.Millisecond))
	fairway.Eventually(t, patience, i.quiet(t))
}

func TestWhatIsDeclaredIsKept(t *testing.T) {
	i := start(t, standard())
	i.InstallCustomResources(t)
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	fairway.Eventually(t, patience, i.hasIssuer("letsencrypt", true))
	t.Run("an object has an owner and a label", func(t *testing.T) { testOwner(t, i) })
	t.Run("an edit is undone", func(t *testing.T) { testEdit(t, i) })
	t.Run("what is no longer declared is deleted", func(t *testing.T) { testRemoval(t, i) })
	t.Run("a manifest with a mistake costs only itself", func(t *testing.T) { testMistakes(t, i) })
	t.Run("somebody else's object stays as it is", func(t *testing.T) { testForeign(t, i) })
	t.Run("nothing is made without the owner", func(t *testing.T) { testOwnerGone(t, i) })
	t.Run("two installations", func(t *testing.T) { testTwoInstallations(t, i) })
	t.Run("the next leader goes on", func(t *testing.T) { testLeaderChange(t, i) })
	t.Run("without the ConfigMap nothing happens", func(t *testing.T) { testConfigMapGone(t, i) })
}

func testOwner(t *testing.T, i installation) {
	role := &rbacv1.ClusterRole{}
	if err := i.Client.Get(t.Context(), client.ObjectKey{Name: owner}, role); err != nil {
		t.Fatal(err)
	}
	for _, object := range []client.Object{&v1alpha1.ClusterGatewayConfig{}, &v1alpha1.Issuer{}} {
		name := "default"
		if _, isIssuer := object.(*v1alpha1.Issuer); isIssuer {
			name = "letsencrypt"
		}
		if _, err := get(t.Context(), i, object, name); err != nil {
			t.Fatal(err)
		}
		owners := object.GetOwnerReferences()
		if len(owners) != 1 || owners[0].Kind != "ClusterRole" || owners[0].Name != owner || owners[0].UID != role.UID {
			t.Errorf("%s is owned by %+v, want ClusterRole %s of UID %s", name, owners, owner, role.UID)
		}
		if object.GetLabels()[label] != mark || object.GetAnnotations()[label] != configMap.String() {
			t.Errorf("%s has the labels %v and the annotations %v", name, object.GetLabels(), object.GetAnnotations())
		}
		managers := map[string]bool{}
		for _, entry := range object.GetManagedFields() {
			managers[entry.Manager+" "+entry.Subresource] = true
		}
		if !managers["fairway-declared "] {
			t.Errorf("%s has the managers %v", name, managers)
		}
	}
}

func testEdit(t *testing.T, i installation) {
	for _, patch := range []string{`{"spec":{"httpPort":9999}}`, `{"spec":{"httpPort":null}}`, `{"metadata":{"ownerReferences":null}}`} {
		i.Cluster.Kubectl(t, "", "patch", "clustergatewayconfig", "default", "--type=merge", "-p", patch)
		fairway.Eventually(t, patience, i.hasPort("default", 8081))
		fairway.Eventually(t, patience, func(ctx context.Context) error {
			found, err := get(ctx, i, &v1alpha1.ClusterGatewayConfig{}, "default")
			if err == nil && len(found.OwnerReferences) != 1 {
				err = fmt.Errorf("it is owned by %v", found.OwnerReferences)
			}
			return err
		})
	}
	// What the manifest leaves open is the user's.
	i.Cluster.Kubectl(t, "", "patch", "clustergatewayconfig", "default", "--type=merge", "-p", `{"spec":{"trustedHops":2,"httpPort":9999}}`)
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	found, err := get(t.Context(), i, &v1alpha1.ClusterGatewayConfig{}, "default")
	if err != nil || found.Spec.TrustedHops == nil || *found.Spec.TrustedHops != 2 {
		t.Errorf("a field that is not declared is %v, %v, want 2", found.Spec.TrustedHops, err)
	}
	// Somebody deletes it.
	i.Cluster.Kubectl(t, "", "delete", "clustergatewayconfig", "default")
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
}

func testRemoval(t *testing.T, i installation) {
	data := standard()
	data["inner.yaml"] = config("inner", "httpPort: 8082, trustedHops: 1")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.hasPort("inner", 8082))

	// A field that is no longer declared goes.
	data["inner.yaml"] = config("inner", "httpPort: 8083")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.hasPort("inner", 8083))
	if found, err := get(t.Context(), i, &v1alpha1.ClusterGatewayConfig{}, "inner"); err != nil || found.Spec.TrustedHops != nil {
		t.Errorf("the field that is no longer declared is %v, %v", found.Spec.TrustedHops, err)
	}

	// An entry that cannot be read may be the one that names it.
	data["inner.yaml"] = "kind: ["
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.tells(t, "ManifestInvalid", "deletes no declared object"))
	if err := i.hasPort("inner", 8083)(t.Context()); err != nil {
		t.Error(err)
	}
	i.declare(t, configMap, standard())
	fairway.Eventually(t, patience, i.hasPort("inner", 0))
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	fairway.Eventually(t, patience, i.quiet(t))
}

func testMistakes(t *testing.T, i installation) {
	data := standard()
	data["rule.yaml"] = config("rule", "address: nonsense")         // a rule of the CRD
	data["misspelt.yaml"] = issuer("misspelt", ", emial: a@b.test") // a field that does not exist
	data["type.yaml"] = config("type", "httpPort: many")
	data["good.yaml"] = config("good", "httpPort: 8084")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.hasPort("good", 8084))
	fairway.Eventually(t, patience, i.tells(t, "ManifestRefused", "must be an IP address"))
	fairway.Eventually(t, patience, i.tells(t, "ManifestRefused", "emial"))
	fairway.Eventually(t, patience, i.tells(t, "ManifestRefused", "httpPort"))
	fairway.Eventually(t, patience, i.Metric(`fairway_problems{kind="ConfigMap",reason="ManifestRefused"} 3`))
	if told := strings.Count(i.Controller.Log(), "must be an IP address"); told != 1 {
		t.Errorf("the log tells %d times of one mistake", told)
	}

	// A mistake in a manifest of an object that exists: it stays.
	data["good.yaml"] = config("good", "httpPort: 99999")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.tells(t, "ManifestRefused", "ClusterGatewayConfig good, and the object stays as it is"))
	if err := i.hasPort("good", 8084)(t.Context()); err != nil {
		t.Error(err)
	}
	data["rule.yaml"] = config("rule", "httpPort: 8085")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.hasPort("rule", 8085))
	i.declare(t, configMap, standard())
	fairway.Eventually(t, patience, i.hasPort("good", 0))
	fairway.Eventually(t, patience, i.hasPort("rule", 0))
	fairway.Eventually(t, patience, i.quiet(t))
}

func testForeign(t *testing.T, i installation) {
	i.Cluster.Kubectl(t, config("foreign", "httpPort: 7000"), "apply", "-f", "-")
	data := standard()
	data["foreign.yaml"] = config("foreign", "httpPort: 8086")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.tells(t, "ObjectNotOurs", "there is ClusterGatewayConfig foreign already, and it stays as it is: kubectl-client-side-apply made it"))
	if err := i.hasPort("foreign", 7000)(t.Context()); err != nil {
		t.Error(err)
	}

	// The user lets Fairway have it.
	said := i.Fairway(t, i.Cluster.Config, "status").Out
	_, command, _ := strings.Cut(said, "let Fairway have it: kubectl ")
	command, _, _ = strings.Cut(command, "\n")
	i.Cluster.Kubectl(t, "", strings.Fields(command)...)
	fairway.Eventually(t, patience, i.hasPort("foreign", 8086))
	fairway.Eventually(t, patience, i.quiet(t))
	i.declare(t, configMap, standard())
	fairway.Eventually(t, patience, i.hasPort("foreign", 0))
}

func testOwnerGone(t *testing.T, i installation) {
	data := standard()
	data["owner"] = "ClusterRole/another"
	data["late.yaml"] = config("late", "httpPort: 8087")
	i.declare(t, configMap, data)
	i.Controller.Tolerate(`cannot get resource "clusterroles"`, "may not read ClusterRole another")
	fairway.Eventually(t, patience, i.tells(t, "OwnerNotFound", "the controller may not read ClusterRole another"))
	if err := i.hasPort("late", 0)(t.Context()); err != nil {
		t.Error(err)
	}
	data["owner"] = ""
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.hasPort("late", 8087))
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		for _, name := range []string{"late", "default"} {
			if found, err := get(ctx, i, &v1alpha1.ClusterGatewayConfig{}, name); err != nil || len(found.OwnerReferences) != 0 {
				return fmt.Errorf("%s is owned by %v, %w", name, found.OwnerReferences, err)
			}
		}
		return nil
	})
	i.declare(t, configMap, standard())
	fairway.Eventually(t, patience, i.hasPort("late", 0))
	fairway.Eventually(t, patience, func(context.Context) error {
		found, err := get(t.Context(), i, &v1alpha1.ClusterGatewayConfig{}, "default")
		if err == nil && len(found.OwnerReferences) != 1 {
			err = fmt.Errorf("default is owned by %v", found.OwnerReferences)
		}
		return err
	})
}

// Both declare an object of one name. The one that comes first has it, and neither
// touches the other's.
func testTwoInstallations(t *testing.T, i installation) {
	other := types.NamespacedName{Namespace: "second", Name: configMap.Name}
	i.PermitInstallation(t, other.Namespace)
	i.Create(t, of(other, map[string]string{
		"default.yaml": config("default", "httpPort: 9001"),
		"second.yaml":  config("second", "httpPort: 9002"),
	}))
	second := i.StartReplica(t, "--namespace", other.Namespace)
	fairway.Eventually(t, patience, i.hasPort("second", 9002))
	fairway.Eventually(t, patience, second.Says(`fairway_problems{kind="ConfigMap",reason="ObjectNotOurs"} 1`))
	for name, port := range map[string]int32{"default": 8081, "second": 9002} {
		if err := i.hasPort(name, port)(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if log := second.Log(); !strings.Contains(log, "ConfigMap fairway-system/fairway-declared of another installation") {
		t.Errorf("the second does not say whose the object is:\n%s", log)
	}

	// The first gives it up, and the second takes it.
	data := standard()
	delete(data, "default.yaml")
	i.declare(t, configMap, data)
	fairway.Eventually(t, patience, i.hasPort("default", 9001))
	i.declare(t, configMap, standard())
	fairway.Eventually(t, patience, i.tells(t, "ObjectNotOurs", "ConfigMap second/fairway-declared of another installation"))
	i.declare(t, other, nil)
	fairway.Eventually(t, patience, i.hasPort("second", 0))
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	if err := second.Stop(t, patience); err != nil {
		t.Error(err)
	}
}

func testLeaderChange(t *testing.T, i installation) {
	next := i.StartReplica(t)
	fairway.Eventually(t, patience, i.Replicas[0].Says("fairway_leader 1"))
	if err := i.Controller.Stop(t, patience); err != nil {
		t.Error(err)
	}
	i.Cluster.Kubectl(t, "", "patch", "clustergatewayconfig", "default", "--type=merge", "-p", `{"spec":{"httpPort":9999}}`)
	fairway.Eventually(t, patience, next.Says("fairway_leader 1"))
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	i.Cluster.Kubectl(t, "", "delete", "issuer", "letsencrypt")
	fairway.Eventually(t, patience, i.hasIssuer("letsencrypt", true))
}

func testConfigMapGone(t *testing.T, i installation) {
	i.Cluster.Kubectl(t, "", "delete", "configmap", "-n", configMap.Namespace, configMap.Name)
	fairway.Eventually(t, patience, func(context.Context) error {
		if said := i.Fairway(t, i.Cluster.Config, "status"); !hasLine(said.Out, "ConfigMapNotFound", "nothing restores them") {
			return fmt.Errorf("status does not say that the ConfigMap is gone:\n%s", said.Out)
		}
		return nil
	})
	i.Cluster.Kubectl(t, "", "patch", "clustergatewayconfig", "default", "--type=merge", "-p", `{"spec":{"httpPort":9999}}`)
	fairway.Throughout(t, 2*time.Second, i.hasPort("default", 9999))
	if err := i.hasIssuer("letsencrypt", true)(t.Context()); err != nil {
		t.Error(err)
	}
	i.Create(t, of(configMap, standard()))
	fairway.Eventually(t, patience, i.hasPort("default", 8081))
	fairway.Eventually(t, patience, i.quiet(t))
}
