package fairway

import (
	"path/filepath"
	"testing"
	"time"
)

// InstallCustomResources applies config/crd, and returns when the API server
// serves them.
func (r *Installation) InstallCustomResources(t testing.TB) {
	t.Helper()
	r.Cluster.Kubectl(t, "", "apply", "-k", filepath.Join(repository(t), "config", "crd"))
	r.Cluster.Kubectl(t, "", "wait", "--for=condition=Established", "--timeout="+time.Minute.String(),
		"crd/gatewayconfigs.fairway.dev", "crd/clustergatewayconfigs.fairway.dev", "crd/issuers.fairway.dev")
}

// StartEnvoy starts an Envoy of another gateway, which need not exist yet. It
// runs until the test ends.
func (r *Installation) StartEnvoy(t testing.TB, gateway string) *Envoy {
	t.Helper()
	e := r.startEnvoy(t, len(r.Envoys), gateway)
	r.Envoys = append(r.Envoys, e)
	return e
}
