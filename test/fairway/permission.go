package fairway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// The names in config/rbac.
const (
	defaultHome = "fairway-system"
	account     = "fairway-controller"
)

// permit gives the controller the rights that config/rbac grants, with the names of
// the Installation, and returns a configuration with only those. If watched is not
// empty, the controller may read only the namespaced objects in these namespaces. With
// selects it may also read Namespaces, to select them by labels.
func (r *Installation) permit(t testing.TB, watched []string, selects bool) *rest.Config {
	t.Helper()
	account := r.name.Controller()
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: r.home, Name: account}}
	for _, object := range r.shippedRoles(t, selects) {
		if role, ok := object.(*rbacv1.Role); ok && len(watched) > 0 { // as the chart does
			role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}})
		}
		r.ensure(t, object) // a ClusterRole is the same for an Installation of the same name
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: object.GetName()}
		meta := metav1.ObjectMeta{Name: object.GetName()}
		switch {
		case object.GetNamespace() != "":
			ref.Kind, meta.Namespace = "Role", object.GetNamespace()
			r.Create(t, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		case len(watched) > 0 && (object.GetName() == account || object.GetName() == account+"-certificates"):
			for _, meta.Namespace = range watched {
				r.Create(t, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
			}
		default:
			if r.home != defaultHome {
				meta.Name += "-of-" + r.home
			}
			r.Create(t, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		}
	}
	return r.Cluster.ServiceAccount(r.home, account)
}

// shippedRoles are the ClusterRoles and Roles of config/rbac. Where these have the
// names of the default installation, they get those of this one.
func (r *Installation) shippedRoles(t testing.TB, selects bool) []client.Object {
	t.Helper()
	files := []string{"role.yaml", "certificates.yaml"}
	if selects {
		files = append(files, "namespace-selector.yaml")
	}
	var roles []client.Object
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(repository(t), "config", "rbac", file))
		if err != nil {
			t.Fatal(err)
		}
		named := strings.NewReplacer(account, r.name.Controller(), defaultHome, r.home).Replace(string(text))
		for document := range strings.SplitSeq(named, "\n---\n") {
			var role client.Object = &rbacv1.ClusterRole{}
			if strings.Contains(document, "\nkind: Role\n") {
				role = &rbacv1.Role{}
			}
			if err := yaml.UnmarshalStrict([]byte(document), role); err != nil {
				t.Fatalf("read %s: %v", file, err)
			}
			roles = append(roles, role)
		}
	}
	return roles
}

// repository is the folder of the go.mod above the working directory. In a test,
// the working directory is the package's folder.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// PermitInstallation gives the controller's account what it needs to run with
// --namespace in another namespace, which need not exist yet.
func (r *Installation) PermitInstallation(t testing.TB, namespace string) {
	t.Helper()
	r.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	for _, object := range r.shippedRoles(t, false) {
		if object.GetNamespace() == "" {
			continue
		}
		object.SetNamespace(namespace)
		r.Create(t, object, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: object.GetName()},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: object.GetName()},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: r.home, Name: r.name.Controller()}},
		})
	}
}
