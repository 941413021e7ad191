package dns

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/nameserver"
)

// outside is a server for names outside of the cluster, with the name www.outside.test.
func outside(t testing.TB) *nameserver.Server {
	t.Helper()
	s := nameserver.Start(t, "127.0.0.1:0", "outside.test", nil)
	s.Add(t, "@ 60 IN SOA ns. me. 1 60 60 60 300", "www 1 IN A 192.0.2.1")
	return s
}

// service is a Service with a cluster IP.
func service(name, address string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: default}, spec: {clusterIP: %s, ports: [{port: 80}]}}", name, address)
}

// While the API server is away at the start, no name of the cluster is said not to exist; names outside
// are answered; and the server finds everything by itself once the API server is there.
func TestNothingIsUnknownBeforeEverythingWasRead(t *testing.T) {
	c := startCluster(t)
	c.Kubectl(t, service("web", "10.96.1.1"), "apply", "-f", "-")
	c.StopAPIServer()
	s := serve(t, c, "--upstream="+outside(t).Address.String())
	s.become(t, 30*time.Second, "www.outside.test", dns.TypeA, "192.0.2.1")
	for name, kind := range map[string]uint16{
		"web.default.svc.cluster.local": dns.TypeA, "none.default.svc.cluster.local": dns.TypeA,
		"1.1.96.10.in-addr.arpa": dns.TypePTR, "cluster.local": dns.TypeSOA,
	} {
		if got := s.says(name, kind); got != "SERVFAIL" {
			t.Errorf("%s is %s before everything was read, want SERVFAIL", name, got)
		}
	}
	if status, said := s.get("ready"); status != http.StatusServiceUnavailable {
		t.Errorf("/ready says %d %s", status, said)
	}
	if err := c.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	s.up(t)
	s.become(t, time.Second, "web.default.svc.cluster.local", dns.TypeA, "10.96.1.1")
	if got := s.says("none.default.svc.cluster.local", dns.TypeA); got != "NXDOMAIN" {
		t.Errorf("a name that is not there is %s", got)
	}
}

// etcd comes back as it was a while ago: versions that watches have seen come again, for other changes.
// What was made since is found on every server, and what is gone is forgotten.
func TestARestoredEtcd(t *testing.T) {
	c := startCluster(t)
	c.Kubectl(t, service("old", "10.96.1.1"), "apply", "-f", "-")
	restore, err := c.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	quick := []string{"--look=2s", "--compare=10s", "--settle=1s"}
	one, two := serve(t, c, quick...).up(t), serve(t, c, quick...).up(t)
	for i := range 30 { // versions that are forgotten
		c.Kubectl(t, service("lost", fmt.Sprintf("10.96.2.%d", i+1)), "apply", "-f", "-")
		c.Kubectl(t, "", "delete", "service", "lost", "--wait=false")
	}
	c.Kubectl(t, service("lost", "10.96.3.1"), "apply", "-f", "-")
	for _, s := range []*server{one, two} {
		s.become(t, 10*time.Second, "lost.default.svc.cluster.local", dns.TypeA, "10.96.3.1")
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, service("new", "10.96.1.2"), "apply", "-f", "-")
	for _, s := range []*server{one, two} {
		s.become(t, 60*time.Second, "new.default.svc.cluster.local", dns.TypeA, "10.96.1.2")
		s.become(t, 60*time.Second, "lost.default.svc.cluster.local", dns.TypeA, "NXDOMAIN")
		if got := s.says("old.default.svc.cluster.local", dns.TypeA); got != "10.96.1.1" {
			t.Errorf("a Service that was there is %s", got)
		}
		if stale := s.metric("fairway_dns_stale_total"); stale == "" || stale == "0" {
			t.Errorf("fairway_dns_stale_total is %q", stale)
		}
		if s.metric("fairway_dns_verified_timestamp_seconds") == "" || s.metric("fairway_dns_last_event_timestamp_seconds") == "" {
			t.Error("a metric is missing")
		}
	}
}

// A name that is asked for before it exists is found within five seconds.
func TestANameThatIsAskedForTooEarly(t *testing.T) {
	c := startCluster(t)
	s := serve(t, c).up(t)
	const name = "web.default.svc.cluster.local"
	asked := time.NewTicker(100 * time.Millisecond)
	defer asked.Stop()
	for range 30 {
		if got := s.says(name, dns.TypeA); got != "NXDOMAIN" {
			t.Fatalf("%s is %s", name, got)
		}
		<-asked.C
	}
	c.Kubectl(t, service("web", "10.96.1.1"), "apply", "-f", "-")
	began := time.Now()
	s.become(t, 5*time.Second, name, dns.TypeA, "10.96.1.1")
	t.Logf("found %s after it existed", time.Since(began))
}

// A resolv.conf that leads back here costs the names outside, and nothing else.
func TestServersForNamesOutsideThatLeadBack(t *testing.T) {
	c := startCluster(t)
	c.Kubectl(t, service("web", "10.96.1.1"), "apply", "-f", "-")
	for name, resolvConf := range map[string]string{
		"a loopback address":        "nameserver 127.0.0.53\noptions edns0\n",
		"the cluster's DNS itself":  "nameserver 10.96.0.10\nsearch default.svc.cluster.local\n",
		"no server":                 "search example.test\n",
		"an empty file":             "",
		"addresses that are none":   "nameserver example.test\n",
		"IPv6's loopback, and zone": "nameserver ::1\nnameserver fe80::1%lo0\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(resolvConf), 0o600); err != nil {
				t.Fatal(err)
			}
			s := serve(t, c, "--resolv-conf="+path, "--address=10.96.0.10").up(t)
			if got := s.says("web.default.svc.cluster.local", dns.TypeA); got != "10.96.1.1" {
				t.Errorf("a name of the cluster is %s", got)
			}
			if got := s.says("www.outside.test", dns.TypeA); got != "SERVFAIL" && !strings.Contains(name, "zone") {
				t.Errorf("a name outside is %s, want SERVFAIL", got)
			}
		})
	}
	t.Run("an event says what to set", func(t *testing.T) {
		eventually(t, 10*time.Second, func() error {
			events := c.Kubectl(t, "", "-n", "kube-system", "get", "events", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{'\\n'}{end}")
			for _, words := range []string{"UpstreamLoop: 127.0.0.53", "UpstreamLoop: 10.96.0.10", "NoUpstream: ", "Set dns.upstreams"} {
				if !strings.Contains(events, words) {
					return fmt.Errorf("no event says %q:\n%s", words, events)
				}
			}
			return nil
		})
	})
	t.Run("by another server", func(t *testing.T) {
		s := loop(t, func(port uint16) *server {
			return serve(t, c, fmt.Sprintf("--upstream=127.0.0.1:%d", port))
		})
		s.up(t)
		eventually(t, 20*time.Second, func() error {
			if got := s.metric("fairway_dns_upstream_loop"); got != "1" {
				return fmt.Errorf("fairway_dns_upstream_loop is %q", got)
			}
			return nil
		})
		began := time.Now()
		for range 100 {
			if got := s.says("www.outside.test", dns.TypeA); got != "SERVFAIL" {
				t.Fatalf("a name outside is %s, want SERVFAIL", got)
			}
			if got := s.says("web.default.svc.cluster.local", dns.TypeA); got != "10.96.1.1" {
				t.Fatalf("a name of the cluster is %s", got)
			}
		}
		t.Logf("200 answers in %s", time.Since(began))
	})
}

// loop is a server whose upstream sends everything back to it.
func loop(t *testing.T, start func(upstream uint16) *server) *server {
	t.Helper()
	upstream := freeport.Get(t)
	s := start(upstream)
	relay := &dns.Server{Addr: fmt.Sprintf("127.0.0.1:%d", upstream), Net: "udp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		answer, err := dns.Exchange(r, fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = w.WriteMsg(answer) // the client would miss it
		}
	})}
	started := make(chan struct{})
	relay.NotifyStartedFunc = func() { close(started) }
	go func() { _ = relay.ListenAndServe() }()
	<-started
	t.Cleanup(func() { _ = relay.Shutdown() })
	return s
}

// A server that is told to end says at once that it is not ready, and goes on answering everything.
func TestAServerThatEndsGoesOnAnswering(t *testing.T) {
	c := startCluster(t)
	c.Kubectl(t, service("web", "10.96.1.1"), "apply", "-f", "-")
	s := serve(t, c, "--upstream="+outside(t).Address.String(), "--lameduck=3s").up(t)
	s.signal(t, syscall.SIGTERM)
	began := time.Now()
	eventually(t, time.Second, func() error {
		if status, _ := s.get("ready"); status != http.StatusServiceUnavailable {
			return fmt.Errorf("/ready says %d", status)
		}
		return nil
	})
	for time.Since(began) < 2500*time.Millisecond {
		if got := s.says("web.default.svc.cluster.local", dns.TypeA); got != "10.96.1.1" {
			t.Fatalf("after %s a name of the cluster is %s", time.Since(began), got)
		}
		if got := s.says("www.outside.test", dns.TypeA); got != "192.0.2.1" {
			t.Fatalf("after %s a name outside is %s", time.Since(began), got)
		}
		<-time.After(100 * time.Millisecond)
	}
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}
