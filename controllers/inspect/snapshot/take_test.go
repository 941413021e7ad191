package snapshot_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/route"
)

// shop has a class, a gateway with settings, two hosts with TLS, and mistakes: a
// Service that is not there, and a certificate that is none.
const shop = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: inside}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: ClusterGatewayConfig, name: inside}
---
apiVersion: fairway.dev/v1alpha1
kind: ClusterGatewayConfig
metadata: {name: inside}
spec: {httpPort: 8081}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {namespace: shop, name: web, annotations: {fairway.dev/client-ca: staff-ca}}
spec:
  ingressClassName: inside
  tls: [{hosts: [shop.test], secretName: broken}, {hosts: ["*.shop.test"], secretName: elsewhere}]
  rules:
  - host: shop.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /gone, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}
  - host: "*.shop.test"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Secret
metadata: {namespace: shop, name: broken}
type: kubernetes.io/tls
data: {tls.crt: YnJva2Vu, tls.key: YnJva2Vu}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web, annotations: {fairway.dev/backend-ca: roots}}
spec: {ports: [{port: 80, appProtocol: https}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8443}]
endpoints: [{addresses: [10.1.0.1]}, {addresses: [10.1.0.2], conditions: {ready: false}}]
`

// objectsIn decodes manifests.
func objectsIn(t *testing.T, manifests string) []client.Object {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	var objects []client.Object
	for _, text := range strings.Split(manifests, "\n---\n") {
		object, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		objects = append(objects, object.(client.Object))
	}
	return objects
}

// fixed is a cluster that holds what is in manifests.
func fixed(t *testing.T, manifests string) *folder.Cache {
	t.Helper()
	objects, err := folder.Fixed(objectsIn(t, manifests))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// files holds manifests in a folder of their own.
func files(t *testing.T, manifests string) (*folder.Cache, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := folder.New(folder.Options{Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	return objects, dir
}

// pictureOf is what is seen in a snapshot.
func pictureOf(t *testing.T, objects *folder.Cache, scope index.Scope) *edge.Picture {
	t.Helper()
	var picture *edge.Picture
	err := snapshot.Take(t.Context(), objects, scope, func(ctx context.Context, c *edge.Controllers) (err error) {
		picture, err = c.FirstPass(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// byHand is the first pass of controllers as a controller has them, with the
// settings of one without flags, over a cluster whose Secrets are all known.
func byHand(t *testing.T, objects *folder.Cache) *edge.Picture {
	t.Helper()
	base := route.DefaultSettings()
	base.HTTPSPort = 443
	c := &edge.Controllers{Cache: objects, Reporter: report.New(), Base: base}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Index(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- objects.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if !objects.WaitForCacheSync(ctx) {
		t.Fatal("the cache does not sync")
	}
	picture, err := c.FirstPass(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// diff is of two pictures, but for what is wrong.
func diff(want, got *edge.Picture) string {
	return cmp.Diff(want, got, cmpopts.IgnoreFields(edge.Picture{}, "Reports"), cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}))
}

func TestTheSameIsSeenInFilesAndInAClusterAsControllersSee(t *testing.T) {
	want := byHand(t, fixed(t, shop))
	if len(want.Hosts) != 2 || len(want.Backends) != 1 || want.Settings["inside"] == nil || want.Settings["inside"].HTTPPort != 8081 {
		t.Fatalf("the controllers' picture has %d hosts, %d backends, settings %v", len(want.Hosts), len(want.Backends), want.Settings)
	}
	inFiles, _ := files(t, shop)
	for where, objects := range map[string]*folder.Cache{"a cluster": fixed(t, shop), "files": inFiles} {
		got := pictureOf(t, objects, index.Scope{})
		if diff := diff(want, got); diff != "" {
			t.Errorf("in %s (-controllers +snapshot):\n%s", where, diff)
		}
		if diff := cmp.Diff(knownProblems(want), knownProblems(got)); diff != "" {
			t.Errorf("Problems in %s (-controllers +snapshot):\n%s", where, diff)
		}
	}
}

// knownProblems are those that do not come of a Secret's being not there.
func knownProblems(p *edge.Picture) []string {
	var all []string
	for _, each := range p.Problems() {
		if each.Reason != route.ReasonSecretNotFound {
			all = append(all, each.Object.String()+" "+each.Field+" "+string(each.Reason)+" "+each.Message)
		}
	}
	return all
}

// Secrets are kept apart from other manifests, and few people may read those of a
// cluster.
func TestASecretThatIsNotThereIsNoProblem(t *testing.T) {
	for _, p := range pictureOf(t, fixed(t, shop), index.Scope{}).Problems() {
		if p.Reason == route.ReasonSecretNotFound {
			t.Errorf("%s: %s", p.Object, p.Message)
		}
	}
	missing := 0
	for _, p := range byHand(t, fixed(t, shop)).Problems() {
		if p.Reason == route.ReasonSecretNotFound {
			missing++
		}
	}
	if missing != 3 {
		t.Errorf("of %d Secrets a controller says that they are not there, want 3", missing)
	}
}

func TestAScopeIsLookedThrough(t *testing.T) {
	if got := pictureOf(t, fixed(t, shop), index.Scope{OneGateway: true}); got.Hosts[route.Key{Gateway: route.DefaultGateway, Host: "shop.test"}] == nil {
		t.Errorf("with one gateway, hosts are %v", got.Hosts)
	}
	if got := pictureOf(t, fixed(t, shop), index.Scope{Classes: []string{"other"}}); len(got.Hosts) != 0 {
		t.Errorf("of another class, hosts are %v", got.Hosts)
	}
	err := snapshot.Take(t.Context(), fixed(t, shop), index.Scope{Namespaces: labels.Everything()}, func(context.Context, *edge.Controllers) error { return nil })
	if err == nil {
		t.Error("files have no Namespaces, and are selected by them")
	}
}

// stateOf is when each file below dir was written, and what is in it.
func stateOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	state := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		about, err := entry.Info()
		if err != nil {
			return err
		}
		state[path] = about.ModTime().String() + about.Mode().String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestALookChangesNothing(t *testing.T) {
	objects, dir := files(t, shop)
	before := stateOf(t, dir)
	err := snapshot.Take(t.Context(), objects, index.Scope{}, func(ctx context.Context, c *edge.Controllers) error {
		if c.Publisher != nil || c.Live != nil {
			t.Errorf("the controllers publish to %v, and ask %v", c.Publisher, c.Live)
		}
		_, err := c.FirstPass(ctx)
		if reported := c.Reporter.Problems(); len(reported) != 0 {
			t.Errorf("reported %v", reported)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, stateOf(t, dir)); diff != "" {
		t.Errorf("the files (-before +after):\n%s", diff)
	}
}

func TestALookEndsWithItsCall(t *testing.T) {
	blind := errors.New("there is nothing to see")
	var ended <-chan struct{}
	err := snapshot.Take(t.Context(), fixed(t, shop), index.Scope{}, func(ctx context.Context, _ *edge.Controllers) error {
		ended = ctx.Done()
		return blind
	})
	if !errors.Is(err, blind) {
		t.Errorf("error %v, want %v", err, blind)
	}
	select {
	case <-ended:
	default:
		t.Error("the context of the look has not ended")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(blind)
	err = snapshot.Take(ctx, fixed(t, shop), index.Scope{}, func(context.Context, *edge.Controllers) error {
		t.Error("it looks after its time")
		return nil
	})
	if !errors.Is(err, blind) {
		t.Errorf("after its time: %v, want %v", err, blind)
	}
}
