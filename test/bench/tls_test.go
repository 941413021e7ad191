package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// securePorts is how far a listener for TLS is above its one without.
	securePorts = 1000
	// firstUses is how many names are used for the first time, one after the
	// other.
	firstUses = 1000
	rotations = 100
	// hostsAdded come while keptOpen connections are open.
	hostsAdded = 1000
	keptOpen   = 50
	oneGateway = "one"
)

// BenchmarkTLS measures what a full handshake costs Envoy: with one certificate
// and with many, as Fairway configures it, and with one as one does by hand. They
// are measured as BenchmarkDataPlane does. Besides: the first handshake with a
// name, memory per certificate, the time from a Secret's change until it is
// served, and connections that are closed while hosts are added.
//
// FAIRWAY_BENCH_HOSTS is how many certificates are many.
func BenchmarkTLS(b *testing.B) {
	many := sizes(5000)[0]
	length := setting(b, "PHASE", 5*time.Second)
	if runtime.NumCPU() < 2 {
		b.Fatal("needs two CPUs, one of them for Envoy alone")
	}
	pinSelf(b)
	startRawBackend(b, "0.0.0.0")
	bench := &tlsBench{authority: fairway.NewAuthority(b), many: many}
	bench.start(b)
	all := []*contender{
		{name: "by hand", byHand: true, secure: bench.byHand(b)},
		{name: "Fairway", gateway: oneGateway},
		{name: "Fairway"},
	}
	hosts := []int{1, 1, many}
	for i, c := range all {
		c.start(b, i, hosts[i], bench.fairway.XDS.String())
	}
	bench.firstUse(b, all[2])
	for b.Loop() {
		for round := range dataPlaneRounds {
			for i, c := range all {
				c.shake(b, hosts[i], length, round > 0)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	bench.rotate(b, all[2])
	bench.keepOpen(b, all[2])
	bench.print(os.Stdout, hosts, all)
}

// secureAddress is where the contender speaks TLS.
func (c *contender) secureAddress(b *testing.B) string {
	b.Helper()
	at, err := net.ResolveTCPAddr("tcp", c.address)
	if err != nil {
		b.Fatal(err)
	}
	at.Port += securePorts
	return at.String()
}

// shake measures handshakes with hosts in turn.
func (c *contender) shake(b *testing.B, hosts int, length time.Duration, counts bool) {
	b.Helper()
	l := load{Address: c.secureAddress(b), Hosts: hosts, Connections: 16, Duration: length, Handshakes: true}
	before := cpuOf(b, c.pid)
	o := l.start(b).wait(b)
	if o.Failed > 0 {
		b.Fatalf("%s: %d of %d handshakes failed: %s", c.name, o.Failed, o.Sent, o.Failure)
	}
	if counts {
		c.rounds = append(c.rounds, dataPlaneRound{o, (cpuOf(b, c.pid) - before).Seconds() / o.Took.Seconds()})
	}
}

// shakeHands makes a full handshake and ends the connection.
func shakeHands(address, name string) error {
	connection, err := dialTLS(address, name)
	if err != nil {
		return err
	}
	return connection.Close()
}

func dialTLS(address, name string) (*tls.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return tls.DialWithDialer(dialer, "tcp", address, &tls.Config{
		ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13,
	})
}

// tlsBench is what there is besides the contenders, and what it showed.
type tlsBench struct {
	fairway   *fairway.Installation
	authority *fairway.Authority
	many      int

	first, again, rotated        []time.Duration
	controller, envoy, inTraffic float64 // KiB a certificate: of the controller's before and with Envoy's use
	closed                       int
}

// start brings a controller up with many hosts, and measures what their
// certificates cost it.
func (t *tlsBench) start(b *testing.B) {
	b.Helper()
	t.fairway = fairway.Start(b, fairway.Options{Flags: []string{"--access-log"}, Before: func(r *fairway.Installation) {
		one := fairway.Class(oneGateway)
		group := "fairway.dev"
		one.Spec.Parameters = &networkingv1.IngressClassParametersReference{APIGroup: &group, Kind: "ClusterGatewayConfig", Name: oneGateway}
		r.Create(b, fairway.Class(class), one, fairway.Service("first"), fairway.Slice("first", rawAddress(0)))
		t.create(b, r, t.many, func(i int) []client.Object { return []client.Object{t.ingress(i, class)} })
	}})
	t.fairway.Envoys[0].Stop() // those of the benchmark are started otherwise
	before := t.fairway.Controller.RSS(b)
	t.create(b, t.fairway, t.many, func(i int) []client.Object { return []client.Object{t.secret(b, i)} })
	var wanting errgroup.Group
	wanting.SetLimit(32)
	for i := range t.many {
		wanting.Go(func() error {
			ingress := t.ingress(i, class)
			plain := ingress.DeepCopy()
			t.overTLS(ingress, i)
			return t.fairway.Client.Patch(b.Context(), ingress, client.MergeFrom(plain))
		})
	}
	if err := wanting.Wait(); err != nil {
		b.Fatal(err)
	}
	alone := t.ingress(0, oneGateway)
	alone.Name = "alone"
	t.overTLS(alone, 0)
	t.fairway.Create(b, alone)
	fairway.Eventually(b, 2*time.Minute, t.fairway.Metric(fmt.Sprintf("fairway_certificates %d", t.many+1)))
	t.controller = kibibytesEach(t.fairway.Controller.RSS(b)-before, t.many)
}

func kibibytesEach(bytes int64, n int) float64 { return float64(bytes) / 1024 / float64(n) }

// create creates objects of n hosts, several at a time.
func (t *tlsBench) create(b *testing.B, r *fairway.Installation, n int, of func(i int) []client.Object) {
	b.Helper()
	var creating errgroup.Group
	creating.SetLimit(32)
	for i := range n {
		objects := of(i)
		creating.Go(func() error {
			for _, object := range objects {
				if err := r.Client.Create(b.Context(), object); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := creating.Wait(); err != nil {
		b.Fatal(err)
	}
}

func (t *tlsBench) ingress(i int, class string) *networkingv1.Ingress {
	ingress := fairway.Ingress(clusterOf(i), class, host(i), "/", "first")
	ingress.Annotations = map[string]string{route.AnnotationSSLRedirect: "false"}
	return ingress
}

func (t *tlsBench) overTLS(ingress *networkingv1.Ingress, i int) {
	ingress.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host(i)}, SecretName: clusterOf(i)}}
}

func (t *tlsBench) secret(b *testing.B, i int) *corev1.Secret {
	return t.authority.Secret(b, clusterOf(i), fairway.Wish{Names: []string{host(i)}})
}

// byHand is TLS as one configures it by hand: one certificate, and otherwise what
// Fairway has.
func (t *tlsBench) byHand(b *testing.B) *tlsv3.DownstreamTlsContext {
	chain, key := t.authority.Issue(b, fairway.Wish{Names: []string{host(0)}})
	inline := func(content []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: content}}
	}
	return &tlsv3.DownstreamTlsContext{
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{
				TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
				// Without it, clients get X25519 alone, which is cheaper.
				EcdhCurves: []string{"X25519MLKEM768", "X25519", "P-256", "P-384"},
			},
			AlpnProtocols:   []string{"h2", "http/1.1"},
			TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: inline(chain), PrivateKey: inline(key)}},
		},
		DisableStatefulSessionResumption: true,
		SessionTicketKeysType: &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
			DisableStatelessSessionResumption: true,
		},
	}
}

// firstUse uses each name for the first time, and again.
func (t *tlsBench) firstUse(b *testing.B, c *contender) {
	b.Helper()
	address := c.secureAddress(b)
	before, controller := usageOf(b, c.pid).rss, t.fairway.Controller.RSS(b)
	use := func(names int) []time.Duration {
		var took []time.Duration
		for i := range names {
			began := time.Now()
			if err := shakeHands(address, host(i)); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		return took
	}
	t.first = use(min(firstUses, t.many))
	t.again = use(min(firstUses, t.many))
	use(t.many)
	t.envoy = kibibytesEach(usageOf(b, c.pid).rss-before, t.many)
	t.inTraffic = kibibytesEach(t.fairway.Controller.RSS(b)-controller, t.many)
}

// rotate replaces certificates, and waits until each is served.
func (t *tlsBench) rotate(b *testing.B, c *contender) {
	b.Helper()
	address := c.secureAddress(b)
	for i := range min(rotations, t.many) {
		next := t.secret(b, i)
		want := leafOf(b, next)
		if err := t.fairway.Client.Update(b.Context(), next); err != nil {
			b.Fatal(err)
		}
		began := time.Now() // the API server has answered
		for {
			connection, err := dialTLS(address, host(i))
			if err != nil {
				b.Fatal(err)
			}
			got := connection.ConnectionState().PeerCertificates[0]
			connection.Close()
			if got.Equal(want) {
				break
			}
			if time.Since(began) > time.Minute {
				b.Fatalf("the new certificate of %s is not served", host(i))
			}
		}
		t.rotated = append(t.rotated, time.Since(began))
	}
}

func leafOf(b *testing.B, secret *corev1.Secret) *x509.Certificate {
	b.Helper()
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		b.Fatal(err)
	}
	return pair.Leaf
}

// keepOpen adds hosts while connections are open, and counts those that are
// closed afterwards.
func (t *tlsBench) keepOpen(b *testing.B, c *contender) {
	b.Helper()
	address := c.secureAddress(b)
	open := make([]*tls.Conn, keptOpen)
	answers := make([]*bufio.Reader, keptOpen)
	for i := range open {
		var err error
		if open[i], err = dialTLS(address, host(0)); err != nil {
			b.Fatal(err)
		}
		defer open[i].Close()
		answers[i] = bufio.NewReader(open[i])
		if err := ask(open[i], answers[i]); err != nil {
			b.Fatal(err)
		}
	}
	t.create(b, t.fairway, hostsAdded, func(i int) []client.Object {
		i += t.many
		ingress := t.ingress(i, class)
		t.overTLS(ingress, i)
		return []client.Object{t.secret(b, i), ingress}
	})
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	for i := range hostsAdded {
		for shakeHands(address, host(t.many+i)) != nil {
			if ctx.Err() != nil {
				b.Fatalf("%s is not served", host(t.many+i))
			}
		}
	}
	for i := range open {
		if err := ask(open[i], answers[i]); err != nil {
			t.closed++
		}
	}
}

// ask sends a request on a connection, which must be answered and stay open.
func ask(connection net.Conn, answers *bufio.Reader) error {
	request, err := http.NewRequest(http.MethodGet, "https://"+host(0)+"/", nil)
	if err != nil {
		return err
	}
	if err := request.Write(connection); err != nil {
		return err
	}
	response, err := http.ReadResponse(answers, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || response.Close {
		return fmt.Errorf("answered %s, the last of the connection: %t", response.Status, response.Close)
	}
	return nil
}

// print prints the medians, and the median of the rounds' ratios to the first
// contender.
func (t *tlsBench) print(w io.Writer, hosts []int, all []*contender) {
	fmt.Fprintf(w, "\nfull handshakes, TLS 1.3, ECDSA P-256, %d rounds\n\n", len(all[0].rounds))
	fmt.Fprintln(w, "| | certificates | handshakes/s | ÷ by hand (least–most) | CPU a handshake, µs | ÷ by hand | p50 / p99, ms |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	rate := func(r dataPlaneRound) float64 { return float64(r.Sent) / r.Took.Seconds() }
	for i, c := range all {
		rates, cpus := c.each(rate), c.each(dataPlaneRound.perRequest)
		ratio := over(rates, all[0].each(rate))
		fmt.Fprintf(w, "| %s | %d | %.0f | %.3f (%.3f–%.3f) | %.0f | %.3f | %.2f / %.2f |\n", c.name, hosts[i],
			median(rates), median(ratio), slices.Min(ratio), slices.Max(ratio),
			median(cpus), median(over(cpus, all[0].each(dataPlaneRound.perRequest))),
			median(c.each(func(r dataPlaneRound) float64 { return milliseconds(r.P50) })),
			median(c.each(func(r dataPlaneRound) float64 { return milliseconds(r.P99) })))
	}
	fmt.Fprintf(w, "\n| with %d certificates | |\n|---|---|\n", t.many)
	pair := func(what string, took []time.Duration) {
		fmt.Fprintf(w, "| %s, p50 / p99 | %.1f / %.1f ms |\n", what, milliseconds(quantile(took, 0.5)), milliseconds(quantile(took, 0.99)))
	}
	pair("first handshake with a name", t.first)
	pair("handshake with the same names again", t.again)
	pair("Secret changed → served", t.rotated)
	fmt.Fprintf(w, "| Envoy, memory a certificate | %.1f KiB |\n", t.envoy)
	fmt.Fprintf(w, "| controller, memory a certificate; more once Envoy has it | %.1f; %.1f KiB |\n", t.controller, t.inTraffic)
	fmt.Fprintf(w, "| connections closed of %d, while %d hosts with TLS were added | %d |\n", keptOpen, hostsAdded, t.closed)
}
