package cluster

import (
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const backend = `
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  ipFamilyPolicy: RequireDualStack
  ports: [{name: http, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: shop-1
  namespace: default
  labels: {kubernetes.io/service-name: shop}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
---
apiVersion: v1
kind: Pod
metadata: {name: shop, namespace: default}
spec: {containers: [{name: shop, image: shop}]}
`

func TestCluster(t *testing.T) {
	began := time.Now()
	c := Start(t, Options{})
	t.Logf("up after %s", time.Since(began).Round(10*time.Millisecond))

	t.Run("kubectl applies what a test needs without a controller-manager", func(t *testing.T) {
		c.Kubectl(t, backend, "apply", "-f", "-")
		got := c.Kubectl(t, "", "get", "service", "shop", "-o", "jsonpath={.spec.clusterIPs}")
		if !strings.Contains(got, "10.96.") || !strings.Contains(got, "fd00:10:96:") {
			t.Errorf("cluster IPs = %s, want one of each family", got)
		}
	})

	t.Run("kubectl's complaint reaches the caller", func(t *testing.T) {
		_, err := c.TryKubectl("", "get", "service", "absent")
		if err == nil || !strings.Contains(err.Error(), "NotFound") {
			t.Errorf("TryKubectl = %v, want NotFound", err)
		}
	})

	t.Run("a user may do what a role grants and nothing else", func(t *testing.T) { testRights(t, c) })
	t.Run("a kubeconfig file has the rights of its user", func(t *testing.T) { testKubeconfig(t, c) })
	t.Run("a crash of the API server", func(t *testing.T) { testCrash(t, c) })
}

func testRights(t *testing.T, c *Cluster) {
	ctx := t.Context()
	grant(t, c, rbacv1.Subject{Kind: "ServiceAccount", Namespace: "fairway", Name: "controller"})
	pod := client(t, c.ServiceAccount("fairway", "controller"))
	if _, err := pod.CoreV1().Services("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("list services: %v", err)
	}
	if _, err := pod.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list secrets = %v, want Forbidden", err)
	}
	stranger := client(t, c.User("stranger", "guests"))
	_, err := stranger.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "stranger"`) {
		t.Errorf("list services = %v, want Forbidden for stranger", err)
	}
}

// grant lets the subject list Services everywhere.
func grant(t *testing.T, c *Cluster, subject rbacv1.Subject) {
	t.Helper()
	ctx, rbac := t.Context(), client(t, c.Config).RbacV1()
	name := metav1.ObjectMeta{Name: "reads-services"}
	role := &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list"},
	}}}
	if _, err := rbac.ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: name,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
		Subjects:   []rbacv1.Subject{subject},
	}
	if _, err := rbac.ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func testKubeconfig(t *testing.T, c *Cluster) {
	path, err := c.WriteKubeconfig(c.User("reader", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Kubectl(t, "", "--kubeconfig="+path, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	if got != "reader" {
		t.Errorf("whoami = %q, want reader", got)
	}
}

func testCrash(t *testing.T, c *Cluster) {
	ctx, services := t.Context(), client(t, c.Config).CoreV1().Services("default")
	before, err := services.Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.StopAPIServer()
	if _, err := services.Get(ctx, "kubernetes", metav1.GetOptions{}); err == nil {
		t.Error("it answers although it was stopped")
	}
	if err := c.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	after, err := services.Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Errorf("after the crash: %v, %v, want the Service of before", after, err)
	}
}

func TestTwoClustersSideBySide(t *testing.T) {
	for _, name := range []string{"one", "other"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Start(t, Options{})
			c.Kubectl(t, "", "create", "namespace", name)
			got := c.Kubectl(t, "", "get", "namespaces", "-o", "name")
			if strings.Count(got, "one")+strings.Count(got, "other") != 1 {
				t.Errorf("namespaces:\n%s\nwant only %s of this test", got, name)
			}
		})
	}
}

func TestAServerThatEndsAtOnceSaysWhy(t *testing.T) {
	_, err := Up(Options{APIServerFlags: []string{"--nonsense"}})
	if err == nil || !strings.Contains(err.Error(), "unknown flag: --nonsense") {
		t.Errorf("Up = %v, want kube-apiserver's complaint", err)
	}
}

func client(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
