package healthcheck_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/healthcheck"
	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// A port that kube-proxy still has is taken when kube-proxy ends, without a change of the
// Service.
func TestAPortThatIsTakenIsTriedAgain(t *testing.T) {
	const port = 30256
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 10)
	server := &healthcheck.Server{Failed: func(_ types.NamespacedName, err error) { told <- err }}
	defer server.Close()
	web := types.NamespacedName{Namespace: "shop", Name: "web"}
	server.Set(web, service.Health{Port: port, Local: 2})
	if err := <-told; err == nil {
		t.Error("a port that another has is said to be free")
	}
	other.Close()
	const patience = 20 * time.Second
	select {
	case err := <-told:
		if err != nil {
			t.Errorf("when the port is free, it says %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not try again")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if weight := response.Header.Get("X-Load-Balancing-Endpoint-Weight"); response.StatusCode != http.StatusOK || weight != "2" {
		t.Errorf("it answers %s, %s endpoints", response.Status, weight)
	}
}
