package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/xds/route"
)

// replicaSettings identify this replica among the others.
type replicaSettings struct {
	Installation installation.Name // of which this is a replica
	Namespace    string            // of the controller's own objects
	Identity     string            // of this replica
	Terms        leader.Durations
}

// newReplicaSettings returns the defaults, which come from the pod if there is
// one. The random suffix tells apart replicas that run on one host outside of
// pods.
func newReplicaSettings() replicaSettings {
	r := replicaSettings{
		Installation: installation.Default, Namespace: os.Getenv("POD_NAMESPACE"), Identity: os.Getenv("POD_NAME"), Terms: leader.Durations{}.Default(),
	}
	if r.Namespace == "" {
		r.Namespace = "fairway-system"
	}
	return r
}

func (r *replicaSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar((*string)(&r.Installation), "installation", string(r.Installation), "`name` of this installation, with which the names of its own objects begin: Leases, Secrets, Service")
	flags.StringVar(&r.Namespace, "namespace", r.Namespace, "`namespace` of the controller's own objects; by default $POD_NAMESPACE")
	flags.StringVar(&r.Identity, "identity", r.Identity, "unique `name` of this replica; by default $POD_NAME, or the host name with a random suffix")
	flags.DurationVar(&r.Terms.Lease, "leader-lease-duration", r.Terms.Lease, "how long other replicas wait before they replace a leader that has vanished")
	flags.DurationVar(&r.Terms.Renew, "leader-renew-deadline", r.Terms.Renew, "how long the leader tries to renew its lease before it gives up")
	flags.DurationVar(&r.Terms.Retry, "leader-retry-period", r.Terms.Retry, "time between two attempts to get or renew the lease")
}

// managers are the field managers of this installation.
func (c *controllerSettings) managers() installation.Managers {
	return c.Replica.Installation.Managers(c.Replica.Namespace, c.Scope.Controller.Owns(route.ControllerName))
}

func (r *replicaSettings) load(where func(name, problem string) error) error {
	if r.Identity == "" {
		host, err := os.Hostname()
		if err != nil || len(validation.IsDNS1123Subdomain(strings.ToLower(host))) > 0 {
			host = "replica"
		}
		r.Identity = strings.ToLower(host) + "-" + rand.String(5)
	}
	var wrong []error
	if err := r.Installation.Validate(); err != nil {
		wrong = append(wrong, where("installation", err.Error()))
	}
	if len(validation.IsDNS1123Label(r.Namespace)) > 0 {
		wrong = append(wrong, where("namespace", fmt.Sprintf("%q is no name of a namespace", r.Namespace)))
	}
	if len(validation.IsDNS1123Subdomain(r.Installation.Controller()+"-"+r.Identity)) > 0 {
		wrong = append(wrong, where("identity", fmt.Sprintf("%q cannot be part of an object's name", r.Identity)))
	}
	if err := r.Terms.Validate(); err != nil {
		wrong = append(wrong, where("leader-lease-duration", err.Error()))
	}
	return errors.Join(wrong...)
}

// lease is the Lease that the replicas compete for.
func (r *replicaSettings) lease() types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Installation.Controller()}
}
