package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// xdsReplica looks like a controller to Envoys. It serves one gateway on one
// address, without hosts.
type xdsReplica struct {
	*server.Server
	stop func()
}

// settingsOn are those of a gateway that listens on a port of this machine.
func settingsOn(port int) route.Settings {
	s := route.DefaultSettings()
	s.Address, s.HTTPPort = "127.0.0.1", uint16(port)
	s.AccessLog = false
	return s
}

// startReplica serves Envoys on an address until stop or the end of the test.
func startReplica(t *testing.T, address string, creds credentials.TransportCredentials, port int) *xdsReplica {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &xdsReplica{Server: server.New(server.Options{Log: logr.Discard()})}
	r.PublishSettings(route.DefaultGateway, settingsOn(port))
	r.Open()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- grpcserver.Serve(ctx, listener, creds, time.Hour, r.Server) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// synced is nil when an Envoy is connected and has caught up.
func (r *xdsReplica) synced() error {
	for _, e := range r.Envoys() {
		if e.Synced {
			return nil
		}
	}
	return fmt.Errorf("no Envoy has caught up: %+v", r.Envoys())
}

// startGateway runs "fairway gateway" until the test ends.
func startGateway(t *testing.T, args ...string) (p *program, probes string) {
	t.Helper()
	temp := shortTemp(t)
	probes = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p = &program{t: t, temp: temp, ended: make(chan struct{})}
	args = append([]string{
		"gateway", "--envoy", tools.Path(t, "envoy"), "--concurrency", "1", "--node", "test", "--metrics-address", probes,
	}, args...)
	p.command = exec.Command(os.Args[0], args...)
	p.command.Env = append(os.Environ(), asFairway+"=yes", "TMPDIR="+temp)
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			p.mu.Unlock()
		}
		p.failure = p.command.Wait()
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("it said:\n%s", p.said())
		}
	})
	return p, probes
}

func shortTemp(t *testing.T) string {
	t.Helper()
	temp, err := os.MkdirTemp("", "fw") //nolint:usetesting // its paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(temp); err != nil {
			t.Error(err)
		}
	})
	return temp
}

// asked is the answer to a GET: its status, and its body as an error's text.
func asked(url string) (status int, body string, err error) {
	client := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// gets checks that a URL answers with a status and with a text in the body.
func gets(url string, status int, text string) func() error {
	return func() error {
		got, body, err := asked(url)
		if err == nil && (got != status || !strings.Contains(body, text)) {
			err = fmt.Errorf("%s answers %d %q, want %d %q", url, got, body, status, text)
		}
		return err
	}
}

func TestAGatewayIsReadyWhenItServesWhatAControllerSaid(t *testing.T) {
	port, xds := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p, probes := startGateway(t, "--xds", xds)
	ready, site := "http://"+probes+"/readyz", fmt.Sprintf("http://127.0.0.1:%d/", port)

	eventually(t, patience, gets(ready, 503, "INITIALIZING"))
	if err := gets("http://"+probes+"/healthz", 200, "ok")(); err != nil {
		t.Error(err)
	}
	controller := startReplica(t, xds, insecure.NewCredentials(), port)
	eventually(t, patience, gets(ready, 200, "ok"))
	if err := gets(site, 404, "")(); err != nil {
		t.Errorf("it is ready, but %v", err)
	}
	eventually(t, patience, controller.synced)

	controller.stop()
	first := p.envoy()
	if err := errors.Join(gets(site, 404, "")(), gets(ready, 200, "ok")()); err != nil {
		t.Errorf("with its controller gone: %v", err)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, gets(ready, 503, "INITIALIZING"))
	if second := p.envoy(); second == first {
		t.Errorf("Envoy %d was killed and still runs", first)
	}
	startReplica(t, xds, insecure.NewCredentials(), port)
	eventually(t, patience, gets(ready, 200, "ok"))
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if left, err := os.ReadDir(p.temp); err != nil || len(left) != 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestAGatewayGoesToAnotherController(t *testing.T) {
	port := freePort(t)
	addresses := []string{fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	var controllers [2]*xdsReplica
	start := func(i int) { controllers[i] = startReplica(t, addresses[i], insecure.NewCredentials(), port) }
	start(0)
	start(1)
	_, probes := startGateway(t, "--xds", strings.Join(addresses, ","), "--drain-delay", "0s")
	eventually(t, patience, gets("http://"+probes+"/readyz", 200, "ok"))

	for range 4 {
		connected := 0
		eventually(t, patience, func() error {
			if connected = 0; controllers[0].synced() == nil {
				return nil
			}
			connected = 1
			return controllers[1].synced()
		})
		controllers[connected].stop()
		began := time.Now()
		eventually(t, patience, controllers[1-connected].synced)
		soak.Promised(t, fmt.Sprintf("controller %d is gone; synced with the other", connected), time.Since(began), 5*time.Second)
		start(connected)
	}
}

// A gateway says that its certificate is missing, and starts when the certificate
// is there.
func TestAGatewayWaitsForItsCertificate(t *testing.T) {
	now := time.Now()
	by, reason, err := identity.Policy{}.Succeed(identity.Files{}, identity.Files{}, nil, now)
	if err != nil || reason == "" {
		t.Fatal(reason, err)
	}
	controllers, err1 := identity.Policy{}.Issue(identity.Controllers("", "fairway-system"), by, now)
	files, err2 := identity.Policy{}.Issue(identity.Gateway(route.DefaultGateway), by, now)
	config, err3 := identity.ServerConfig(controllers)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	port, xds, dir := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t)), t.TempDir()
	startReplica(t, xds, credentials.NewTLS(config), port)
	p, probes := startGateway(t, "--xds", xds, "--tls-dir", dir)
	p.says("waiting for the certificate with which Envoy connects to the controllers")
	if err := gets("http://"+probes+"/readyz", 503, "")(); err != nil {
		t.Error(err)
	}
	for name, content := range map[string][]byte{"ca.crt": files.CA, "tls.crt": files.Certificate, "tls.key": files.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, gets("http://"+probes+"/readyz", 200, "ok"))
	p.says("the certificate is there")
}

// The gateway serves exactly the metrics in docs/metrics.md. It still serves few
// series with 10,000 Services, of which more are used than it tells apart.
func TestGatewayMetrics(t *testing.T) {
	services, used := soak.Pick(2000, 10_000), 500
	port, xds := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	controller := startReplica(t, xds, insecure.NewCredentials(), port)
	settings := settingsOn(port)
	settings.HTTPSPort = uint16(freePort(t))
	controller.PublishSettings(route.DefaultGateway, settings)
	for i := range services {
		host := hostOfService(i)
		service := host.Routes[0].Cluster.Port
		controller.PublishBackend(service, &route.Backend{Port: service})
		controller.PublishHost(host.Key, host)
	}
	chain, key := fairway.NewAuthority(t).Issue(t, fairway.Wish{Names: []string{string(hostname(0))}, Serial: 7})
	controller.PublishCertificate(route.Key{Gateway: route.DefaultGateway, Host: hostname(0)}, &route.Certificate{Chain: chain, Key: secret.New(key)})
	good := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(good.Close)
	half := hostOfService(services) // one of its two endpoints refuses connections
	service := half.Routes[0].Cluster.Port
	controller.PublishBackend(service, &route.Backend{Port: service, Endpoints: []route.Endpoint{
		{Address: netip.MustParseAddrPort(good.Listener.Addr().String())},
		{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(freePort(t)))},
	}})
	controller.PublishHost(half.Key, half)
	_, probes := startGateway(t, "--xds", xds, "--max-heap", "4Gi")
	eventually(t, 4*patience, gets("http://"+probes+"/readyz", 200, "ok"))
	eventually(t, 4*patience, gets("http://"+probes+"/metrics", 200,
		`fairway_gateway_certificate_expiry_timestamp_seconds{name="host-0.test",serial="7"} `))
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	for i := range used {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = string(hostname(i))
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("a Service without endpoints: %s, %v", response.Status, err)
		}
	}

	eventually(t, patience, func() error {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			return err
		}
		request.Host = string(half.Key.Host)
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body) // so that the connection stays
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusNotFound {
			t.Errorf("an endpoint that refuses connections costs a request: %s, %v", response.Status, err)
		}
		return gets("http://"+probes+"/metrics", 200,
			fmt.Sprintf(`fairway_gateway_endpoints_set_aside{namespace="shop",port="80",service="s%d"} 1`, services))()
	})

	_, page, err := asked("http://" + probes + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range []string{
		"fairway_gateway_ready 1\n",
		`fairway_gateway_requests_total{code="503",flags="UH"} ` + fmt.Sprintln(used),
		`fairway_gateway_service_requests_total{code="503",namespace="shop",port="80",service="s7"} 1`,
		`fairway_gateway_listeners{state="active"} 2`,
		"fairway_gateway_clusters " + fmt.Sprintln(services+3), // the clusters of the controllers
		"fairway_gateway_controller_connected 1\n",
		`fairway_gateway_connections{listener="http"} 1`,
	} {
		if !strings.Contains(page, sample) {
			t.Errorf("there is no %q", sample)
		}
	}
	names, series := map[string]bool{}, 0
	for line := range strings.Lines(page) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names[strings.Fields(name)[0]] = true
		} else if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	t.Logf("%d series with %d Services", series, services)
	if series > 1000 || strings.Count(page, "fairway_gateway_service_requests_total{") < 100 {
		t.Errorf("%d series, of which %d of Services", series, strings.Count(page, "fairway_gateway_service_requests_total{"))
	}
	documented(t, names)
}

func hostname(i int) route.Hostname { return route.Hostname(fmt.Sprintf("host-%d.test", i)) }

// hostOfService is a host whose only route leads to its own Service.
func hostOfService(i int) *route.Host {
	return &route.Host{
		Key: route.Key{Gateway: route.DefaultGateway, Host: hostname(i)},
		Routes: []route.Route{{
			Match: route.Match{Kind: route.Prefix, Path: "/"},
			Cluster: &route.Cluster{Port: route.ServicePort{
				Service: types.NamespacedName{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}, Port: 80,
			}},
			Origin: types.NamespacedName{Namespace: "shop", Name: "site"},
		}},
	}
}

// documented fails the test unless the page lists exactly the gateway metrics
// that are served.
func documented(t *testing.T, served map[string]bool) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(fairway_gateway_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		told[found[1]] = true
		if !served[found[1]] {
			t.Errorf("docs/metrics.md tells of %s, which is not served", found[1])
		}
	}
	for name := range served {
		if strings.HasPrefix(name, "fairway_") && !told[name] {
			t.Errorf("docs/metrics.md does not tell of %s", name)
		}
	}
}
