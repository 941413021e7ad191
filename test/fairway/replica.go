package fairway

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// Replica is one of several controllers.
type Replica struct {
	*Program

	Identity           string
	XDS, Metrics, ACME netip.AddrPort
}

// addReplica adds a replica without starting it.
func (r *Installation) addReplica(t testing.TB) *Replica {
	replica := &Replica{Identity: fmt.Sprintf("replica-%d", len(r.Replicas)), XDS: r.XDS, Metrics: r.Metrics, ACME: FreePort(t)}
	if len(r.Replicas) > 0 {
		replica.XDS, replica.Metrics = FreePort(t), FreePort(t)
	}
	r.Replicas = append(r.Replicas, replica)
	return replica
}

// StartReplica starts one more controller, with the flags of the first and these
// flags.
func (r *Installation) StartReplica(t testing.TB, flags ...string) *Replica {
	t.Helper()
	replica := r.addReplica(t)
	r.RestartReplica(t, len(r.Replicas)-1, flags...)
	return replica
}

// RestartReplica starts a killed controller again, with these flags in addition
// to the common ones. See StartController.
func (r *Installation) RestartReplica(t testing.TB, i int, flags ...string) {
	t.Helper()
	replica := r.Replicas[i]
	given := append(r.controllerFlags(replica.XDS, replica.Metrics, replica.ACME), "--identity", replica.Identity)
	given = append(given, flags...)
	hear, name := r.hear, replica.Identity
	if i == 0 {
		name = "controller"
	} else {
		hear = nil // Served follows the first replica only
	}
	replica.Program = startProgram(t, r.owner, name, hear, build(t), given...)
	if i == 0 {
		r.Controller = replica.Program
	}
}

// asks are the controllers that an Envoy connects to.
func (r *Installation) asks(envoy int) []string {
	if r.pinned {
		i := envoy % len(r.envoysXDS)
		return r.envoysXDS[i : i+1]
	}
	return r.envoysXDS
}

// responders are the addresses at which controllers answer TLS-ALPN-01
// challenges.
func (r *Installation) responders() []string {
	var all []string
	for _, replica := range r.Replicas {
		all = append(all, replica.ACME.String())
	}
	return all
}

// Says is a check for Eventually: the replica's metrics contain the line.
func (r *Replica) Says(line string) func(context.Context) error {
	at := &Installation{Metrics: r.Metrics}
	return at.Metric(line)
}
