package strangers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/gateway"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

func TestMain(m *testing.M) { netns.Main(m) }

const (
	// patience is how long something that must come may take.
	patience = 30 * time.Second
	// address is where the gateway listens, in the namespace of this test.
	address = "127.0.0.1:8080"
	// addressTLS is where it does with TLS, if a test says so.
	addressTLS = "127.0.0.1:8443"

	mib = 1 << 20
)

// site is a gateway and what it serves:
//
//	shop.test        /admin → admin, everything else → public
//	*.wild.test      the same
//	only.test        /only → public
//	neighbour.test   → neighbour
type site struct {
	*testing.T
	envoy         *gateway.Process
	runs          int // Envoy's process; 0: nobody has asked
	public, admin *recorder
}

// options are what a test wants otherwise.
type options struct {
	bootstrap func(*gateway.Bootstrap)
	settings  func(*route.Settings)
	publish   func(*server.Server) // more than the site always serves
	stdout    io.Writer            // nil: nobody reads the access log
}

// newSite runs a gateway with the settings that ship until the test ends.
func newSite(t *testing.T, o options) *site {
	t.Helper()
	s := &site{T: t, public: newRecorder(t, "public"), admin: newRecorder(t, "admin")}
	settings := route.DefaultSettings()
	settings.Address, settings.HTTPPort = "127.0.0.1", 8080
	if o.settings != nil {
		o.settings(&settings)
	}
	dir := t.TempDir()
	xds := filepath.Join(dir, "xds")
	s.serveXDS(xds, settings, o.publish)
	bootstrap := gateway.Bootstrap{
		Gateway: string(route.DefaultGateway), Node: "test",
		XDS: gateway.XDS{Socket: xds}, Admin: filepath.Join(dir, "admin"),
	}
	if o.bootstrap != nil {
		o.bootstrap(&bootstrap)
	}
	s.envoy = s.run(bootstrap, dir, o.stdout)
	fairway.Eventually(t, patience, s.envoy.Ready)
	return s
}

// serveXDS publishes what the site serves on a socket.
func (s *site) serveXDS(socket string, settings route.Settings, more func(*server.Server)) {
	s.Helper()
	ads := server.New(server.Options{})
	publish(ads, settings, map[string]string{
		"public": s.public.address(), "admin": s.admin.address(), "neighbour": newNeighbourhood(s.T),
	})
	if more != nil {
		more(ads)
	}
	ads.Open()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		s.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	ads.Register(grpcServer)
	served := make(chan error, 1)
	go func() { served <- grpcServer.Serve(listener) }()
	s.Cleanup(func() {
		ads.Close()
		grpcServer.Stop()
		if err := <-served; err != nil {
			s.Error(err)
		}
	})
}

func publish(ads *server.Server, settings route.Settings, backends map[string]string) {
	ads.PublishSettings(route.DefaultGateway, settings)
	for name, address := range backends {
		ads.PublishBackend(port(name), &route.Backend{
			Port: port(name), Endpoints: []route.Endpoint{{Address: netip.MustParseAddrPort(address)}},
		})
	}
	for host, routes := range map[route.Hostname][]route.Route{
		"shop.test": shop(), "*.wild.test": shop(), "only.test": {prefix("/only", "public")}, "neighbour.test": {prefix("/", "neighbour")},
	} {
		key := route.Key{Gateway: route.DefaultGateway, Host: host}
		ads.PublishHost(key, &route.Host{Key: key, Routes: routes})
	}
}

// shop are the routes behind which strangers look for others.
func shop() []route.Route { return []route.Route{prefix("/admin", "admin"), prefix("/", "public")} }

func port(name string) route.ServicePort {
	return route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: name}, Port: 80}
}

func prefix(path, service string) route.Route {
	return route.Route{
		Match: route.Match{Kind: route.Prefix, Path: path}, Cluster: &route.Cluster{Port: port(service)},
		Origin: types.NamespacedName{Namespace: "shop", Name: service},
	}
}

// run runs Envoy until the test ends.
func (s *site) run(bootstrap gateway.Bootstrap, dir string, stdout io.Writer) *gateway.Process {
	s.Helper()
	log, err := os.Create(filepath.Join(dir, "envoy.log"))
	if err != nil {
		s.Fatal(err)
	}
	p := &gateway.Process{
		Path: tools.Path(s, "envoy"), Dir: dir, Bootstrap: bootstrap, Workers: 2, Stdout: stdout,
		Log: funcr.New(func(_, line string) { fmt.Fprintln(log, line) }, funcr.Options{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
		log.Close()
		text, err := os.ReadFile(log.Name())
		if s.Failed() || err != nil {
			s.Logf("Envoy's log: %s %v", text, err)
		}
		if bytes.Contains(text, []byte("ended by itself")) {
			s.Errorf("Envoy crashed")
		}
	})
	return p
}
