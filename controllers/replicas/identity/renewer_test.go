package identity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/replicas/identity"
	"github.com/fairwaynet/fairway/test/cluster"
	xdsidentity "github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	namespace = "fairway-system"
	deadline  = 30 * time.Second
)

// world is a cluster with the namespace of the controllers.
type world struct {
	client.Client

	now      time.Time
	gateways []route.Gateway
	of       installation.Name
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := client.New(cluster.Start(t, cluster.Options{}).Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	return &world{Client: c, now: time.Now(), gateways: []route.Gateway{"default", "shop/blue"}}
}

// renewer is a Renewer that sees the cluster as it is.
func (w *world) renewer() *identity.Renewer {
	return &identity.Renewer{
		Secrets: w, Live: w, Writer: w, Installation: w.of, Namespace: namespace,
		Gateways: func(context.Context) ([]route.Gateway, error) { return w.gateways, nil },
		Now:      func() time.Time { return w.now },
		Wake:     make(chan struct{}, 1),
		Log:      logr.Discard(),
	}
}

// keep reconciles until it succeeds.
func (w *world) keep(t *testing.T) {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		err := w.renewer().Reconcile(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func (w *world) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// versions are the versions of the existing Secrets, by name.
func (w *world) versions(t *testing.T) string {
	t.Helper()
	var list corev1.SecretList
	if err := w.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, s := range list.Items {
		fmt.Fprintf(&all, "%s %s, ", s.Name, s.ResourceVersion)
	}
	return all.String()
}

// Two installations of one namespace keep Secrets of their own, also when one of them
// has a name that is the beginning of the other's.
func TestInstallationsOfOneNamespaceHaveSecretsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.keep(t)
	first := w.versions(t)
	other := &world{Client: w.Client, now: w.now, gateways: []route.Gateway{"default"}, of: "fairway-blue"}
	other.keep(t)
	for _, name := range []string{"fairway-blue-ca", "fairway-blue-controller-tls", "fairway-blue-gateway-default"} {
		if got := w.secret(t, name).Labels[installation.Label]; got != "fairway-blue" {
			t.Errorf("secret %s is labelled %q", name, got)
		}
	}
	w.keep(t)
	// Long after all certificates of the other's gateway have expired, it is the other's.
	w.now = w.now.Add(1000 * 24 * time.Hour)
	gone := w.secret(t, "fairway-blue-gateway-default").UID
	w.keep(t)
	if w.secret(t, "fairway-blue-gateway-default").UID != gone {
		t.Error("one installation deletes the other's Secret")
	}
	if !strings.HasPrefix(first, "fairway-ca ") {
		t.Errorf("the first installation's are %s", first)
	}
}

// A gateway whose Secret would have the name of another installation's gets none, and
// the error says what to do.
func TestASecretOfAnotherInstallationIsNotTouched(t *testing.T) {
	w := newWorld(t)
	other := &world{Client: w.Client, now: w.now, of: "fairway-gateway-x"}
	other.keep(t)
	before := w.secret(t, "fairway-gateway-x-ca")
	w.gateways = []route.Gateway{"x-ca", "y"}
	err := w.renewer().Reconcile(t.Context())
	if err == nil || !strings.Contains(err.Error(), `it belongs to another installation, "fairway-gateway-x": give one of the two another --installation`) {
		t.Errorf("error %v", err)
	}
	if after := w.secret(t, "fairway-gateway-x-ca"); after.ResourceVersion != before.ResourceVersion {
		t.Error("the other's authority was written")
	}
	w.secret(t, "fairway-gateway-y")
}

func TestReplicasThatAllWriteAgree(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			for ctx.Err() == nil {
				err := w.renewer().Reconcile(ctx)
				if err == nil {
					return nil
				}
				if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
					return err
				}
			}
			return ctx.Err()
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	before := w.versions(t)
	w.keep(t)
	if after := w.versions(t); after != before {
		t.Errorf("there is still something to write:\n%s\n%s", before, after)
	}
	authority := w.secret(t, "fairway-ca")
	for _, name := range []string{"fairway-controller-tls", "fairway-gateway-default", "fairway-gateway-shop.blue"} {
		s := w.secret(t, name)
		if string(s.Data["ca.crt"]) != string(authority.Data["ca.crt"]) || s.Type != identity.Type {
			t.Errorf("%s trusts others than the authority, or has type %s", name, s.Type)
		}
		if _, _, err := (xdsidentity.Files{CA: s.Data["ca.crt"], Certificate: s.Data["tls.crt"], Key: s.Data["tls.key"]}).Pair(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASecretThatIsSpoiledIsMended(t *testing.T) {
	w := newWorld(t)
	w.keep(t)
	const name = "fairway-gateway-default"
	update := func(change func(*corev1.Secret)) func(*testing.T) {
		return func(t *testing.T) {
			s := w.secret(t, name)
			change(s)
			if err := w.Update(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name  string
		spoil func(*testing.T)
		kept  bool // the certificate is
	}{
		{"deleted", func(t *testing.T) {
			if err := w.Delete(t.Context(), w.secret(t, name)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"emptied", update(func(s *corev1.Secret) { s.Data = nil }), false},
		{"the key of another", update(func(s *corev1.Secret) { s.Data["tls.key"] = w.secret(t, "fairway-gateway-shop.blue").Data["tls.key"] }), false},
		{"the certificate of another gateway", update(func(s *corev1.Secret) { s.Data = w.secret(t, "fairway-gateway-shop.blue").Data }), false},
		{"other authorities", update(func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("x") }), true},
		{"no label", update(func(s *corev1.Secret) { s.Labels = nil }), true},
		{"another gateway's annotation", update(func(s *corev1.Secret) { s.Annotations = nil }), true},
		{"immutable", update(func(s *corev1.Secret) { s.Immutable = new(true); s.Data["tls.crt"] = nil }), false},
		{"another type", func(t *testing.T) {
			s := w.secret(t, name)
			if err := w.Delete(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := w.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: s.Data}); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := w.secret(t, name)
			test.spoil(t)
			w.keep(t)
			got := w.secret(t, name)
			files := xdsidentity.Files{CA: got.Data["ca.crt"], Certificate: got.Data["tls.crt"], Key: got.Data["tls.key"]}
			pair, _, err := files.Pair()
			if err != nil {
				t.Fatal(err)
			}
			if gateway, err := xdsidentity.GatewayOf(pair.Leaf); gateway != "default" || err != nil {
				t.Errorf("it is of gateway %q, %v", gateway, err)
			}
			if kept := string(got.Data["tls.crt"]) == string(good.Data["tls.crt"]); kept != test.kept {
				t.Errorf("the certificate is kept: %t, want %t", kept, test.kept)
			}
			if got.Labels[identity.Label] != "gateway" || got.Type != identity.Type || got.Annotations["fairway.dev/gateway"] != "default" {
				t.Errorf("labels %v, annotations %v, type %s", got.Labels, got.Annotations, got.Type)
			}
			before := w.versions(t)
			w.keep(t)
			if after := w.versions(t); after != before {
				t.Errorf("there is still something to write:\n%s\n%s", before, after)
			}
		})
	}
}

func TestOneSecretThatCannotBeWrittenDoesNotKeepTheOthers(t *testing.T) {
	w := newWorld(t)
	stubborn := errors.New("stubborn")
	k := w.renewer()
	k.Writer = refusing{w, "fairway-gateway-default", stubborn}
	if err := k.Reconcile(t.Context()); !errors.Is(err, stubborn) {
		t.Errorf("error %v, want that of the Secret", err)
	}
	w.secret(t, "fairway-gateway-shop.blue")
}

// refusing is a Writer that refuses one name.
type refusing struct {
	client.Writer

	name string
	with error
}

func (r refusing) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	if object.GetName() == r.name {
		return r.with
	}
	return r.Writer.Create(ctx, object, options...)
}

func TestASecretOutlivesItsGatewayByItsCertificate(t *testing.T) {
	w := newWorld(t)
	w.keep(t)
	before := w.secret(t, "fairway-gateway-shop.blue")
	w.gateways = w.gateways[:1]
	w.now = w.now.Add(20 * 24 * time.Hour)
	w.keep(t)
	if after := w.secret(t, "fairway-gateway-shop.blue"); after.ResourceVersion != before.ResourceVersion {
		t.Error("the certificate of a gateway that is gone is renewed")
	}
	w.now = w.now.Add(11 * 24 * time.Hour)
	w.keep(t)
	if names := w.versions(t); strings.Contains(names, "shop.blue") || !strings.Contains(names, "fairway-gateway-default") {
		t.Errorf("what is left: %s", names)
	}
}
