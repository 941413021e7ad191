package fairway

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/tools"
)

// Gateway is a "fairway gateway" with its Envoy.
type Gateway struct {
	*Program

	Probes netip.AddrPort
}

// StartGateway runs a gateway until the test ends. Its Envoy listens on the same
// port as all others.
func (r *Installation) StartGateway(t testing.TB, flags ...string) *Gateway {
	t.Helper()
	g := &Gateway{Probes: FreePort(t)}
	given := append([]string{
		"gateway", "--envoy", tools.Path(t, "envoy"), "--concurrency", "1", "--metrics-address", g.Probes.String(),
	}, flags...)
	g.Program = startProgram(t, r.owner, "gateway", nil, build(t), given...)
	return g
}

// Says is a check for Eventually: the gateway answers a path with a status, and
// with text in the body.
func (g *Gateway) Says(path string, status int, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := get(ctx, &http.Transport{DisableKeepAlives: true}, g.Probes.String(), path)
		if err == nil && (a.Status != status || !strings.Contains(a.Body, text)) {
			err = fmt.Errorf("%s is answered %d %q, want %d %q", path, a.Status, a.Body, status, text)
		}
		return err
	}
}

// Ready is a check for Eventually: the gateway is ready.
func (g *Gateway) Ready(ctx context.Context) error {
	return g.Says("/readyz", http.StatusOK, "ok")(ctx)
}

// Mount is a folder with the contents of a Secret, as the kubelet makes it for a
// volume: the files change together. If the Secret is deleted, the folder stays
// as it was.
func (r *Installation) Mount(t testing.TB, secret client.ObjectKey) string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.mount(ctx, t, dir, secret)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return dir
}

func (r *Installation) mount(ctx context.Context, t testing.TB, dir string, name client.ObjectKey) {
	version := ""
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		var secret corev1.Secret
		err := r.Client.Get(ctx, name, &secret)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !apierrors.IsNotFound(err):
			r.Timeline.Note("mount %s: %v", name, err) // the API server may be down on purpose
		case err == nil && secret.ResourceVersion != version:
			if err := project(dir, secret.ResourceVersion, secret.Data); err != nil {
				t.Errorf("mount %s: %v", name, err)
				return
			}
			version = secret.ResourceVersion
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// project writes files into a folder of their own and then switches the link
// "..data", through which readers see the files, to it.
func project(dir, version string, files map[string][]byte) error {
	fresh := filepath.Join(dir, "..v"+version)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), content, 0o600); err != nil {
			return err
		}
	}
	link := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(fresh), link); err != nil {
		return err
	}
	if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
		return err
	}
	for name := range files {
		err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name))
		if err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// Metrics is the content of the gateway's /metrics.
func (g *Gateway) Metrics(ctx context.Context) (string, error) {
	a, err := get(ctx, &http.Transport{DisableKeepAlives: true}, g.Probes.String(), "/metrics")
	return a.Body, err
}
