package fairway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// The controller's account.
const (
	accountNamespace = "fairway-system"
	account          = "fairway-controller"
)

// permit gives the controller the rights that config/rbac grants, and returns a
// configuration with only those. If watched is not empty, the controller may read
// only the namespaced objects in these namespaces. With selects it may also read
// Namespaces, to select them by labels.
func (r *Installation) permit(t testing.TB, watched []string, selects bool) *rest.Config {
	t.Helper()
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: accountNamespace, Name: account}}
	for _, object := range shippedRoles(t, selects) {
		r.Create(t, object)
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
			r.Create(t, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		}
	}
	return r.Cluster.ServiceAccount(accountNamespace, account)
}

// shippedRoles are the ClusterRoles and Roles of config/rbac.
func shippedRoles(t testing.TB, selects bool) []client.Object {
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
		for document := range strings.SplitSeq(string(text), "\n---\n") {
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
