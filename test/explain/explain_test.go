// Package explain tests what people are told about a cluster, by fairway explain
// and fairway status, against what is the case: a real API server, the
// controller as it ships, a real Envoy, and a user who may only read.
package explain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

// patience is how long a change may take on a machine that is busy otherwise.
const patience = 30 * time.Second

const class = "public"

// said is what the test reads of an explanation.
type said struct {
	End     string
	Status  int
	Summary string
	Backend struct{ Service string }
	Path    struct{ Path string }
	Serving *struct{ Envoys int }
}

// start has two Services, a host in three kinds, and rules of every fate.
func start(t *testing.T, options fairway.Options) *fairway.Installation {
	t.Helper()
	r := fairway.Start(t, options)
	ing := fairway.Ingress("web", class, "shop.test", "/", "web")
	paths := &ing.Spec.Rules[0].HTTP.Paths
	exact := fairway.Path("/cart", "web")
	exact.PathType = new(networkingv1.PathTypeExact)
	*paths = append(*paths, fairway.Path("/cart", "cart"), exact, fairway.Path("/gone", "gone"), fairway.Path("/idle", "idle"))
	wild := fairway.Ingress("wild", class, "*.shop.test", "/only", "cart")
	idle := fairway.Slice("idle", "10.77.0.19")
	idle.Endpoints[0].Conditions.Ready = new(false)
	foreign := fairway.Ingress("foreign", "absent", "foreign.test", "/", "web")
	for name, ip := range map[string]string{"web": "10.77.0.11", "cart": "10.77.0.12"} {
		fairway.Backend(t, name, ip)
		r.Create(t, fairway.Service(name), fairway.Slice(name, ip))
	}
	r.Create(t, fairway.Class(class), fairway.Service("idle"), idle, ing, wild, foreign)
	for _, object := range many() {
		r.Create(t, object)
	}
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "web"))
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/cart/1", "cart"))
	fairway.Eventually(t, patience, fairway.Answers("a.shop.test", "/only", "cart"))
	fairway.Eventually(t, patience, fairway.Answers("many.test", "/path-99", "cart"))
	return r
}

// many is an Ingress with more paths than are tried one after the other.
func many() []*networkingv1.Ingress {
	ing := fairway.Ingress("many", class, "many.test", "/path", "web")
	for i := range 100 {
		service := []string{"web", "cart"}[i%2]
		ing.Spec.Rules[0].HTTP.Paths = append(ing.Spec.Rules[0].HTTP.Paths, fairway.Path(fmt.Sprintf("/path-%d", i), service))
	}
	return []*networkingv1.Ingress{ing}
}

func TestAnExplanationIsWhatAClientGets(t *testing.T) {
	r := start(t, fairway.Options{})
	user := viewer(t, r)
	for _, url := range []string{
		"shop.test/", "SHOP.test:80/a?b=c", "shop.test/cart", "shop.test/cart/", "shop.test/cartoon", "shop.test//cart//1",
		"shop.test/x/../cart/1", "shop.test/gone/1", "shop.test/idle", "shop.test/x%2f..%2fcart/2", "shop.test/%2e%2e;/cart",
		"a.shop.test/only", "a.shop.test/only/1", "a.shop.test/", "a.b.shop.test/", "foreign.test/", "other.test/",
		"many.test/path", "many.test/path-", "many.test/path-7/x", "many.test/path-70?x", "many.test/path-700", "many.test/",
	} {
		got := r.Fairway(t, user, "explain", "-o", "json", url)
		var e said
		if err := json.Unmarshal([]byte(got.Out), &e); err != nil {
			t.Fatalf("%s: %v: %s", url, err, got.Err)
		}
		if e.End == "Forwarded" && (e.Serving == nil || e.Serving.Envoys != 1) {
			t.Errorf("%s: %+v, want one Envoy", url, e.Serving)
		}
		if served := e.End == "Forwarded"; served != (got.Code == 0) {
			t.Errorf("%s: %s, and exit code %d", url, e.End, got.Code)
		}
		host, path, _ := strings.Cut(url, "/")
		check := fairway.Status(host, "/"+path, e.Status)
		switch {
		case strings.Contains(url, "%2f"):
			check = redirects(host, "/"+path, e.Path.Path)
		case e.End == "Forwarded":
			check = fairway.Answers(host, "/"+path, strings.TrimPrefix(e.Backend.Service, fairway.Namespace+"/"))
		}
		if err := check(t.Context()); err != nil {
			t.Errorf("%s is explained as %q, but %v", url, e.Summary, err)
		}
	}
}

// shown is what the test reads of the certificate of an explanation.
type shown struct {
	Certificate struct {
		Name  string
		Shown []struct {
			Secret   string
			Names    []string
			NotAfter time.Time
		}
		Unread []string
	}
}

func TestTheCertificateThatIsExplainedIsWhatAClientIsShown(t *testing.T) {
	r := fairway.Start(t, fairway.Options{})
	signer := fairway.NewAuthority(t)
	ing := fairway.Ingress("web", class, "shop.test", "/", "web")
	for host, secret := range map[string]*corev1.Secret{
		"shop.test":   signer.Secret(t, "exact", fairway.Wish{Names: []string{"shop.test"}}),
		"*.shop.test": signer.Secret(t, "wildcard", fairway.Wish{Names: []string{"*.shop.test"}}),
		"a.shop.test": signer.Secret(t, "other", fairway.Wish{Names: []string{"b.shop.test"}}),
		"old.test":    signer.Secret(t, "old", fairway.Wish{Names: []string{"old.test"}, Until: time.Now().Add(-time.Hour)}),
		"gone.test":   nil,
	} {
		name := "gone"
		if secret != nil {
			name = secret.Name
			r.Create(t, secret)
		}
		ing.Spec.TLS = append(ing.Spec.TLS, networkingv1.IngressTLS{Hosts: []string{host}, SecretName: name})
	}
	for _, host := range []string{"old.test", "gone.test", "plain.test"} {
		rule := *ing.Spec.Rules[0].DeepCopy()
		rule.Host = host
		ing.Spec.Rules = append(ing.Spec.Rules, rule)
	}
	r.Create(t, fairway.Class(class), fairway.Service("web"), fairway.Slice("web", "10.77.0.11"), ing)
	fairway.Eventually(t, patience, fairway.PresentsDefault("plain.test"))
	explain := func(user *rest.Config, args ...string) (e shown) {
		t.Helper()
		got := r.Fairway(t, user, append([]string{"explain", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(got.Out), &e); err != nil {
			t.Fatalf("%s: %v: %s", args, err, got.Err)
		}
		return e
	}
	user := viewer(t, r)
	if e := explain(user, "https://shop.test/"); len(e.Certificate.Shown) > 0 || !slices.Equal(e.Certificate.Unread, []string{fairway.Namespace + "/exact"}) {
		t.Errorf("who may not read Secrets is told %+v", e)
	}
	r.Create(t, documented(t, 1, "reader")...)
	if e := explain(user, "http://10.0.0.9/", "-H", "Host: shop.test"); len(e.Certificate.Shown) != 1 {
		t.Errorf("a client that is sent to HTTPS is shown %+v", e)
	}
	for host, secret := range map[string]string{
		"shop.test": "exact", "b.shop.test": "wildcard", "a.shop.test": "wildcard", "old.test": "old", "gone.test": "", "plain.test": "",
	} {
		e := explain(user, "https://"+host+"/").Certificate
		if secret == "" {
			if e.Name != "*" || len(e.Shown)+len(e.Unread) > 0 {
				t.Errorf("%s is explained as %+v, want the default certificate", host, e)
			}
			fairway.Eventually(t, patience, fairway.PresentsDefault(host))
			continue
		}
		if len(e.Shown) != 1 || e.Shown[0].Secret != fairway.Namespace+"/"+secret {
			t.Fatalf("%s is explained as %+v, want Secret %s", host, e, secret)
		}
		fairway.Eventually(t, patience, func(ctx context.Context) error {
			conn, err := fairway.Handshake(ctx, host, nil)
			if err != nil {
				return err
			}
			leaf := conn.ConnectionState().PeerCertificates[0]
			if !slices.Equal(leaf.DNSNames, e.Shown[0].Names) || !leaf.NotAfter.Equal(e.Shown[0].NotAfter) {
				err = fmt.Errorf("%s is explained as %+v, and shows one for %q until %s", host, e, leaf.DNSNames, leaf.NotAfter)
			}
			return errors.Join(err, conn.Close())
		})
	}
}

func redirects(host, path, to string) func(context.Context) error {
	return func(ctx context.Context) error {
		answer, err := fairway.Get(ctx, host, path)
		if err != nil {
			return err
		}
		if location := answer.Header.Get("Location"); !strings.HasSuffix(location, to) {
			return fmt.Errorf("it is sent to %q, not to %q", location, to)
		}
		return nil
	}
}

func TestWhatAUserMayNotReadIsNamed(t *testing.T) {
	r := start(t, fairway.Options{})
	nobody := r.Cluster.User("nobody")
	got := r.Fairway(t, nobody, "explain", "shop.test/")
	for _, want := range []string{
		"you need the permission to list ingressclasses.networking.k8s.io in all namespaces",
		"you need the permission to list ingresses.networking.k8s.io in all namespaces",
	} {
		if got.Code != 2 || !strings.Contains(got.Err, want) {
			t.Errorf("exit code %d: %s\nwant: %s", got.Code, got.Err, want)
		}
	}
}

// viewer is a user with the permissions that docs/explain.md asks for, and no
// other, without those to the resources.
func viewer(t *testing.T, r *fairway.Installation, without ...string) *rest.Config {
	t.Helper()
	r.Create(t, documented(t, 0, "reader", without...)...)
	return r.Cluster.User("reader")
}

// documented is the i-th ClusterRole that docs/explain.md shows, without the
// resources, and its binding to a user.
func documented(t *testing.T, i int, user string, without ...string) []client.Object {
	t.Helper()
	text, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) <= i {
		t.Fatalf("docs/explain.md shows %d ClusterRoles", len(blocks))
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(blocks[i][1], role); err != nil {
		t.Fatal(err)
	}
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
		return slices.ContainsFunc(rule.Resources, func(resource string) bool { return slices.Contains(without, resource) })
	})
	return []client.Object{role, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}}
}
