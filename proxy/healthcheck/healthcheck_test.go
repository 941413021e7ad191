package healthcheck_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/healthcheck"
	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

func name(text string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: text}
}

// answer is what a load balancer gets: the status, the weight and the text.
func answer(t *testing.T, at string) (status int, weight, text string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/any/path", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Do(request)
	if err != nil {
		return 0, "", ""
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"} {
		if got := r.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	return r.StatusCode, r.Header.Get("X-Load-Balancing-Endpoint-Weight"), string(body)
}

func said(namespace, service string, local int, healthy bool) string {
	return fmt.Sprintf(`{"service":{"namespace":%q,"name":%q},"localEndpoints":%d,"serviceProxyHealthy":%t}`+"\n", namespace, service, local, healthy)
}

func expect(t *testing.T, what, at string, status int, weight, text string) {
	t.Helper()
	if s, w, x := answer(t, at); s != status || w != weight || x != text {
		t.Errorf("%s: %d, weight %q, %s\nwant %d, weight %q, %s", what, s, w, x, status, weight, text)
	}
}

// The answers are those of kube-proxy, on both families.
func TestAnswers(t *testing.T) {
	var unhealthy atomic.Bool
	s := healthcheck.Server{Healthy: func() bool { return !unhealthy.Load() }}
	defer s.Close()
	s.Set(name("web"), service.Health{Port: 32000, Local: 2})
	s.Set(name("api"), service.Health{Port: 32001})
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		expect(t, "two endpoints", host+":32000", 200, "2", said("shop", "web", 2, true))
		expect(t, "none", host+":32001", 503, "0", said("shop", "api", 0, true))
	}
	s.Set(name("web"), service.Health{Port: 32000})
	s.Set(name("api"), service.Health{Port: 32001, Local: 1})
	expect(t, "none any more", "127.0.0.1:32000", 503, "0", said("shop", "web", 0, true))
	expect(t, "the first", "127.0.0.1:32001", 200, "1", said("shop", "api", 1, true))
	unhealthy.Store(true)
	expect(t, "the kernel has not what Services are", "127.0.0.1:32001", 503, "1", said("shop", "api", 1, false))
	unhealthy.Store(false)
	s.Set(name("api"), service.Health{Port: 32002, Local: 1})
	expect(t, "another port", "127.0.0.1:32002", 200, "1", said("shop", "api", 1, true))
	expect(t, "the port of before", "127.0.0.1:32001", 0, "", "")
	s.Set(name("web"), service.Health{})
	s.Set(name("web"), service.Health{})
	s.Set(name("unknown"), service.Health{})
	expect(t, "a Service that is gone", "127.0.0.1:32000", 0, "", "")
	s.Set(name("new"), service.Health{Port: 32000, Local: 3})
	expect(t, "another Service with its port", "127.0.0.1:32000", 200, "3", said("shop", "new", 3, true))
	s.Close()
	expect(t, "after the end", "127.0.0.1:32000", 0, "", "")
	s.Close()
}

// told is what Failed hears.
type told struct {
	name types.NamespacedName
	err  error
}

// A port that kube-proxy still has is told, and answered when kube-proxy ends, without a change
// of the Service.
func TestAPortThatIsTaken(t *testing.T) {
	heard := make(chan told, 1000)
	s := healthcheck.Server{Pause: 10 * time.Millisecond, Failed: func(name types.NamespacedName, err error) { heard <- told{name, err} }}
	defer s.Close()
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":32000")
	if err != nil {
		t.Fatal(err)
	}
	s.Set(name("web"), service.Health{Port: 32000, Local: 1})
	if first := <-heard; first.name != name("web") || first.err == nil {
		t.Errorf("heard %+v", first)
	}
	s.Set(name("web"), service.Health{Port: 32000, Local: 2})
	other.Close()
	for last := (told{err: io.EOF}); last.err != nil; {
		select {
		case last = <-heard:
		case <-time.After(10 * time.Second):
			t.Fatal("it is not tried again")
		}
	}
	expect(t, "when the port is free", "127.0.0.1:32000", 200, "2", said("shop", "web", 2, true))
}

// Two Services may change ports with one another in any order.
func TestPortsThatChangeHands(t *testing.T) {
	s := healthcheck.Server{Pause: time.Hour}
	defer s.Close()
	s.Set(name("a"), service.Health{Port: 32000, Local: 1})
	s.Set(name("b"), service.Health{Port: 32001, Local: 2})
	s.Set(name("a"), service.Health{Port: 32001, Local: 1})
	s.Set(name("b"), service.Health{Port: 32000, Local: 2})
	expect(t, "a", "127.0.0.1:32001", 200, "1", said("shop", "a", 1, true))
	expect(t, "b", "127.0.0.1:32000", 200, "2", said("shop", "b", 2, true))
}

// A Problem of a port ends with the wish for it.
func TestAPortThatNobodyWantsAnyMore(t *testing.T) {
	heard := make(chan told, 1000)
	s := healthcheck.Server{Pause: time.Hour, Failed: func(name types.NamespacedName, err error) { heard <- told{name, err} }}
	defer s.Close()
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":32000")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s.Set(name("web"), service.Health{Port: 32000})
	s.Set(name("web"), service.Health{})
	if first, last := <-heard, <-heard; first.err == nil || last.err != nil {
		t.Errorf("heard %+v, then %+v", first, last)
	}
}
