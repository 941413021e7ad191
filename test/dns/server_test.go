package dns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairwaynet/fairway/test/binary"
	"github.com/fairwaynet/fairway/test/child"
	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/tools"
)

// program is beside the test binary, in the folder that "go test" makes and removes for it.
var program = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "fairway-dns")
	return path, binary.Build(context.Background(), path, "dns/cmd/fairway-dns", []string{"CGO_ENABLED=0", "GOWORK=off"}, "-trimpath", "-ldflags", "-s -w")
})

// rights are what the chart grants the DNS servers.
func rights(t testing.TB) string {
	t.Helper()
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tools.Path(t, "helm4"), "template", "fairway", filepath.Join(root, "charts/fairway"),
		"--namespace", "fairway-system", "--set", "dns.enabled=true,dns.address=10.96.0.10", "--show-only", "templates/dnsrights.yaml").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// startCluster starts a cluster whose DNS servers have their rights.
func startCluster(t testing.TB) *cluster.Cluster {
	t.Helper()
	c := cluster.Start(t, cluster.Options{})
	c.Kubectl(t, rights(t), "apply", "-f", "-")
	return c
}

// server is a running DNS server.
type server struct {
	*child.Process
	command                          *exec.Cmd
	port, health, readiness, metrics uint16
}

// serve starts a DNS server for a cluster until the test ends. It does not wait until it answers.
func serve(t testing.TB, c *cluster.Cluster, args ...string) *server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := c.WriteKubeconfig(c.ServiceAccount("kube-system", "fairway-dns"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{port: freeport.Get(t), health: freeport.Get(t), readiness: freeport.Get(t), metrics: freeport.Get(t)}
	s.command = exec.Command(path, append([]string{
		"--kubeconfig=" + kubeconfig, fmt.Sprintf("--port=%d", s.port), "--lameduck=0s",
		fmt.Sprintf("--health-address=:%d", s.health), fmt.Sprintf("--ready-address=:%d", s.readiness), fmt.Sprintf("--metrics-address=:%d", s.metrics),
		"--resolv-conf=/nonexistent",
	}, args...)...)
	s.command.Env = append(os.Environ(), "POD_NAME=fairway-dns-test", "POD_NAMESPACE=kube-system")
	if s.Process, err = child.Start(t.TempDir(), s.command); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Tail())
		}
		s.Kill()
	})
	return s
}

// up waits until the server is ready.
func (s *server) up(t testing.TB) *server {
	t.Helper()
	eventually(t, 60*time.Second, func() error {
		status, said := s.get("ready")
		if status != http.StatusOK {
			return fmt.Errorf("/ready says %d %s", status, said)
		}
		return nil
	})
	return s
}

// get asks one of the server's pages: ready, health or metrics.
func (s *server) get(page string) (status int, text string) {
	port := map[string]uint16{"ready": s.readiness, "health": s.health, "metrics": s.metrics}[page]
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(fmt.Sprintf("http://127.0.0.1:%d/%s", port, page))
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// metric is the value of a metric without labels, or "".
func (s *server) metric(name string) string {
	_, text := s.get("metrics")
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (s *server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// ask asks by UDP.
func (s *server) ask(name string, kind uint16) (*dns.Msg, error) { return s.askBy("udp", name, kind) }

func (s *server) askBy(network, name string, kind uint16) (*dns.Msg, error) {
	client := dns.Client{Net: network, Timeout: 3 * time.Second}
	answer, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), net.JoinHostPort("127.0.0.1", fmt.Sprint(s.port)))
	return answer, err
}

// says is an answer in short: its records, or its code.
func (s *server) says(name string, kind uint16) string {
	answer, err := s.ask(name, kind)
	if err != nil {
		return err.Error()
	}
	return short(answer)
}

// eventually tries until check has no error.
func eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for now := time.Now(); ; now = <-time.After(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if now.After(deadline) {
			t.Fatalf("after %s: %v", within, err)
		}
	}
}

// become waits for an answer.
func (s *server) become(t testing.TB, within time.Duration, name string, kind uint16, want string) {
	t.Helper()
	eventually(t, within, func() error { return s.is(name, kind, want) })
}

// is says which other answer there is.
func (s *server) is(name string, kind uint16, want string) error {
	if got := s.says(name, kind); got != want {
		return fmt.Errorf("%s: %s, want %s", name, got, want)
	}
	return nil
}
