package road

import (
	"os"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Who the controller is.
const (
	accountNamespace = "fairway"
	account          = "controller"
)

// permit gives the controller the rights that it ships with, and returns the
// path of a kubeconfig that has no others.
func (r *Road) permit(t testing.TB) string {
	t.Helper()
	role := shippedRole(t)
	r.Create(t, role, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: accountNamespace, Name: account}},
	})
	path, err := r.Cluster.WriteKubeconfig(r.Cluster.ServiceAccount(accountNamespace, account))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func shippedRole(t testing.TB) *rbacv1.ClusterRole {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository(t), "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		t.Fatalf("read the role of the controller: %v", err)
	}
	return role
}

// repository is the folder of the go.mod above the working directory, which is
// the package's in a test.
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
