package edge

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/edge/clientca"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/test/laggingcache"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
)

var histories = flag.Int("histories", 300, "how many random histories to try")

// However objects came, changed and went, and in whatever order the informers
// heard of it, what is published and reported in the end is what a fresh start
// finds.
func TestAnyHistoryEndsAsAFreshStart(t *testing.T) {
	for seed := range uint64(*histories) {
		walk(t, seed)
		if t.Failed() {
			return
		}
	}
}

// walk is one history.
func walk(t *testing.T, seed uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	random := rand.New(rand.NewPCG(seed, 3))
	w := newWorld()
	for range random.IntN(30) {
		w.mutate(random)
	}
	w.Sync()
	s := start(ctx, t, w)
	s.controllers.Scope = index.Scope{ClaimWithoutClasses: seed%4 == 0}
	if seed%3 == 0 {
		s.controllers.Scope.Namespaces = labels.SelectorFromSet(served)
	}
	s.controllers.Challenges = &challenge.Set{}
	for range random.IntN(3) {
		s.challenge(random)
	}
	trimmer := &servercert.Trimmer{}
	trimmer.Use(s.controllers.Objects())
	w.Kind(&corev1.Secret{}).Transform = trimmer.Trim
	s.open(ctx, t)
	for range 3 {
		for range 10 + random.IntN(100) {
			s.step(ctx, random)
		}
		s.live.Away = false
		s.settle(ctx)
		s.compare(ctx, t, seed)
	}
}

// stage is Controllers of which a test takes every step.
type stage struct {
	world       *world
	live        *laggingcache.Server
	controllers *Controllers
	wall        *wall
	gateways    laggingcache.Line[route.Gateway]
	hosts       laggingcache.Line[route.Key]
	backends    laggingcache.Line[route.ServicePort]

	certificates laggingcache.Line[servercert.Key]
	backendCAs   laggingcache.Line[route.Authority]
	clientCAs    laggingcache.Line[clientca.Key]
	secrets      *secretcache.Cache
	now          time.Time // of the secret cache's clock
}

func start(ctx context.Context, t testing.TB, w *world) *stage {
	t.Helper()
	s := &stage{world: w, live: &laggingcache.Server{World: w.World}, wall: newWall()}
	s.controllers = &Controllers{
		Cache:     w,
		Live:      s.live,
		Publisher: s.wall,
		Reporter:  report.New(),
		Base:      route.DefaultSettings(),
	}
	if err := s.controllers.Index(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// open does what Controllers.Start does before the workers start.
func (s *stage) open(ctx context.Context, t *testing.T) {
	t.Helper()
	s.openOn(ctx, t, s.wall)
}

// openOn is open with another publisher.
func (s *stage) openOn(ctx context.Context, t *testing.T, publisher Publisher) *parts {
	t.Helper()
	s.now = time.Now()
	s.controllers.now = func() time.Time { return s.now }
	all := s.controllers.parts(publisher)
	s.secrets = all.secrets
	s.gateways = listen(ctx, t, all.gateways)
	s.hosts = listen(ctx, t, all.hosts)
	s.backends = listen(ctx, t, all.backends)
	s.certificates = listen(ctx, t, all.certificates)
	s.backendCAs = listen(ctx, t, all.backendCAs)
	s.clientCAs = listen(ctx, t, all.clientCAs)
	if err := s.controllers.assemble(all).Open(ctx); err != nil {
		t.Fatal(err)
	}
	remind(ctx, t, s.certificates, all.certificates.Builder.Keys)
	remind(ctx, t, s.clientCAs, all.clientCAs.Builder.Keys)
	return all
}

// ask lets the API server be asked for Secrets, when time has passed.
func (s *stage) ask(ctx context.Context, after time.Duration) bool {
	s.now = s.now.Add(after)
	return s.secrets.Step(ctx)
}

// remind makes keys of the first pass be looked at again.
func remind[K comparable](ctx context.Context, t *testing.T, q laggingcache.Line[K], keys func(context.Context) ([]K, error)) {
	t.Helper()
	all, err := keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	q.Remind(all...)
}

func listen[K comparable, V any](ctx context.Context, t *testing.T, kind *assembly.Kind[K, V]) laggingcache.Line[K] {
	t.Helper()
	return laggingcache.Listen(ctx, t, kind.Reconciler, kind.Sources)
}

// step lets any one thing happen: a change of an object, its arrival in a
// store, its arrival at a handler, or a reconciliation.
func (s *stage) step(ctx context.Context, random *rand.Rand) {
	k := s.world.Any(random)
	switch random.IntN(19) {
	case 0, 1, 2:
		s.world.mutate(random)
	case 3, 4, 5:
		k.Receive()
	case 6, 7, 8:
		k.Hear(random)
	case 9:
		s.busily(random, func() { s.hosts.Work(ctx) })
	case 10:
		s.busily(random, func() { s.backends.Work(ctx) })
	case 11:
		s.busily(random, func() { s.gateways.Work(ctx) })
	case 12:
		s.busily(random, func() { s.certificates.Work(ctx) })
	case 13:
		s.busily(random, func() { s.backendCAs.Work(ctx) })
	case 14:
		s.challenge(random)
	case 15:
		s.busily(random, func() { s.clientCAs.Work(ctx) })
	case 16, 17:
		s.busily(random, func() { s.ask(ctx, time.Duration(random.IntN(60_000))*time.Millisecond) })
	default:
		k.Relist(random)
		s.live.Away = random.IntN(4) == 0
	}
}

// challenge has an order begin, go on or end.
func (s *stage) challenge(random *rand.Rand) {
	var challenges []tlschallenge.Challenge
	for range random.IntN(3) {
		token := pick(random, "token-1", "token-2", "token-3")
		challenges = append(challenges, tlschallenge.Challenge{
			Gateway: string(pick(random, route.DefaultGateway, "inner")), Type: tlschallenge.HTTP01,
			Name:  pick(random, "shop.test", "blog.test", "a.shop.test", "nobody.test"),
			Token: token, KeyAuthorization: token + ".thumbprint",
		})
	}
	s.controllers.Challenges.Put(pick(random, "one", "two"), challenges)
}

// busily does work while things go on arriving.
func (s *stage) busily(random *rand.Rand, work func()) {
	s.world.Meanwhile = func() {
		k := s.world.Any(random)
		for range random.IntN(3) {
			k.Receive()
			k.Hear(random)
		}
	}
	work()
	s.world.Meanwhile = nil
}

// settle lets everything happen that is left to happen.
func (s *stage) settle(ctx context.Context) {
	s.world.Sync()
	s.certificates.Wait()
	s.clientCAs.Wait()
	for worked := true; worked; {
		worked = false
		for range 4 { // visits, more than there are namespaces
			s.ask(ctx, time.Hour)
		}
		s.hosts.Wait()
		s.backends.Wait()
		for s.backendCAs.Work(ctx) || s.gateways.Work(ctx) || s.hosts.Work(ctx) || s.backends.Work(ctx) || s.certificates.Work(ctx) || s.clientCAs.Work(ctx) {
			worked = true
		}
	}
}

// compare fails the test unless all is as after a fresh start.
func (s *stage) compare(ctx context.Context, t *testing.T, seed uint64) {
	t.Helper()
	fresh, err := s.controllers.FirstPass(ctx)
	if err != nil {
		t.Fatal(err)
	}
	addresses := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	s.compareGateways(t, seed, fresh)
	if diff := cmp.Diff(fresh.Hosts, s.wall.hosts, addresses); diff != "" {
		t.Errorf("seed %d: hosts (-fresh +walked):\n%s", seed, diff)
	}
	if diff := cmp.Diff(fresh.Backends, s.wall.backends, addresses); diff != "" {
		t.Errorf("seed %d: backends (-fresh +walked):\n%s", seed, diff)
	}
	if diff := cmp.Diff(certain(fresh, fresh.Problems()), certain(fresh, s.controllers.Reporter.Problems())); diff != "" {
		t.Errorf("seed %d: problems (-fresh +walked):\n%s", seed, diff)
	}
	s.compareCertificates(t, seed, fresh)
	if diff := cmp.Diff(fresh.Authorities, s.wall.authorities); diff != "" {
		t.Errorf("seed %d: authorities (-fresh +walked):\n%s", seed, diff)
	}
	clientCAs := map[types.NamespacedName]*[]byte{}
	for key, of := range fresh.ClientCAs {
		clientCAs[types.NamespacedName(key)] = of
	}
	if diff := cmp.Diff(clientCAs, s.wall.clientCAs); diff != "" {
		t.Errorf("seed %d: authorities of clients (-fresh +walked):\n%s", seed, diff)
	}
	for key, host := range fresh.Hosts {
		for _, port := range route.PortsOf(host) {
			if fresh.Backends[port] == nil {
				t.Errorf("seed %d: host %s waits for endpoints of %s that nobody publishes", seed, key, port)
			}
		}
	}
	for port := range fresh.Backends {
		if !s.routed(port) {
			t.Errorf("seed %d: endpoints of %s are published, and no Ingress names it", seed, port)
		}
	}
}

// certain leaves out what follows from the settings of gateways whose
// configuration is wrong, as compareGateways leaves out those.
func certain(fresh *Picture, problems []problem.Problem) []problem.Problem {
	return slices.DeleteFunc(problems, func(p problem.Problem) bool {
		if p.Reason != route.ReasonTLSNotServed {
			return false
		}
		for gateway := range fresh.Settings {
			if isWrong(fresh, gateway) && strings.Contains(p.Message, fmt.Sprintf("gateway %q ", gateway)) {
				return true
			}
		}
		return false
	})
}

func isWrong(fresh *Picture, gateway route.Gateway) bool {
	return slices.ContainsFunc(fresh.Reports[gateway], func(p problem.Problem) bool { return p.Reason == route.ReasonInvalidSetting })
}

// compareGateways leaves out the settings of gateways whose configuration is
// wrong. Those have earlier settings, which a fresh start cannot know.
func (s *stage) compareGateways(t *testing.T, seed uint64, fresh *Picture) {
	t.Helper()
	for gateway := range fresh.Settings {
		if walked := s.wall.settings[gateway]; walked != nil && isWrong(fresh, gateway) {
			fresh.Settings[gateway] = walked
		}
	}
	if diff := cmp.Diff(fresh.Settings, s.wall.settings); diff != "" {
		t.Errorf("seed %d: gateways (-fresh +walked):\n%s", seed, diff)
	}
}

// compareCertificates fails the test unless the certificates are those of a fresh
// start. If that finds none that can be used, earlier usable ones are fine.
func (s *stage) compareCertificates(t *testing.T, seed uint64, fresh *Picture) {
	t.Helper()
	for key, want := range fresh.Certificates {
		got := s.wall.served[route.Key(key)]
		if got != nil && want.Other == nil {
			got = &route.Certificate{Chain: got.Chain, Key: got.Key}
		}
		if !got.Equal(want) {
			t.Errorf("seed %d: another certificate is served for %s", seed, key)
		}
	}
	for key := range s.wall.served {
		if fresh.Certificates[servercert.Key(key)] == nil && !s.wanted(key) {
			t.Errorf("seed %d: a certificate is served for %s, for which nobody asks", seed, key)
		}
	}
}

// wanted says whether an Ingress on the server names a Secret for the name.
func (s *stage) wanted(key route.Key) bool {
	for _, object := range s.world.Kind(&networkingv1.Ingress{}).Server {
		ingress := object.(*networkingv1.Ingress)
		if uses, _, _ := route.SecretsFor(key.Host, []*networkingv1.Ingress{ingress}); len(uses) > 0 {
			return true
		}
	}
	return false
}

// routed says whether any Ingress on the server could mean the port.
func (s *stage) routed(port route.ServicePort) bool {
	for _, object := range s.world.Kind(&networkingv1.Ingress{}).Server {
		if slices.Contains(route.ServicesOf(object.(*networkingv1.Ingress)), port.Service) {
			return true
		}
	}
	return false
}

// The histories are worth nothing if they touch too little.
func TestHistoriesSeeEverything(t *testing.T) {
	reasons := map[problem.Reason]int{}
	routes, answers, endpoints, external, inner, certificates, authorities := 0, 0, 0, 0, 0, 0, 0
	pairs, clientCAs, guarded, passed := 0, 0, 0, 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		w := newWorld()
		for range 60 {
			w.mutate(random)
		}
		w.Sync()
		picture, err := start(t.Context(), t, w).controllers.FirstPass(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range picture.Problems() {
			reasons[p.Reason]++
		}
		for key, host := range picture.Hosts {
			if key.Gateway == "inner" {
				inner++
			}
			if host.Client != nil {
				guarded++
			}
			if host.Passthrough != nil {
				passed++
			}
			for _, r := range host.Routes {
				switch {
				case r.Cluster == nil:
					answers++
				case r.Cluster.DNS != "":
					external++
				default:
					routes++
				}
			}
		}
		for _, served := range picture.Certificates {
			certificates++
			if served.Other != nil {
				pairs++
			}
		}
		authorities += len(picture.Authorities)
		clientCAs += len(picture.ClientCAs)
		for _, backend := range picture.Backends {
			endpoints += len(backend.Endpoints)
		}
	}
	for what, n := range map[string]int{
		"routes": routes, "answers": answers, "endpoints": endpoints, "external names": external,
		"hosts of gateway inner": inner,
		"invalid settings":       reasons[route.ReasonInvalidSetting],
		"invalid parameters":     reasons[route.ReasonInvalidParameters],
		"missing secrets":        reasons[route.ReasonSecretNotFound],
		"broken secrets":         reasons[route.ReasonCertificateInvalid],
		"other names":            reasons[route.ReasonCertificateNames],
		"certificates":           certificates,
		"authorities":            authorities,
		"unverifiable backends":  reasons[route.ReasonBackendTLS],
		"authorities of clients": clientCAs,
		"guarded hosts":          guarded,
		"conflicts over clients": reasons[route.ReasonClientPolicyConflict],
		"missing parameters":     reasons[route.ReasonParametersNotFound],
		"missing backends":       reasons[route.ReasonBackendNotFound],
		"path conflicts":         reasons[route.ReasonPathConflict],
		"invalid hosts":          reasons[route.ReasonInvalidHost],
	} {
		if n < 15 {
			t.Errorf("%d %s in 200 worlds, want more", n, what)
		}
	}
	for what, n := range map[string]int{
		"pairs": pairs, "hosts passed through": passed, "broken authorities": reasons[route.ReasonClientCAInvalid],
	} {
		if n == 0 {
			t.Errorf("no %s in 200 worlds", what)
		}
	}
	t.Logf("%d routes, %d answers, %d endpoints, %d external names, %v", routes, answers, endpoints, external, reasons)
}
