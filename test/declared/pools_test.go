package declared_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
)

// mayGiveAddresses are the rights that the chart gives a controller with loadBalancer.enabled.
const mayGiveAddresses = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: addresses}
rules:
- {apiGroups: [""], resources: [services], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [services/status], verbs: [patch]}
- {apiGroups: [""], resources: [namespaces, nodes], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [servicecidrs], verbs: [list, watch]}
- {apiGroups: [fairway.dev], resources: [addresspools], verbs: [list, watch, create, patch, delete]}
- {apiGroups: [fairway.dev], resources: [addresspools/status], verbs: [patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: addresses}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: addresses}
subjects:
- {kind: ServiceAccount, name: fairway-controller, namespace: fairway-system}
`

func pool(name string, addresses ...string) string {
	return "apiVersion: fairway.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: " + name + "}\nspec: {addresses: [" + strings.Join(addresses, ", ") + "]}\n"
}

// hasPool is a check for Eventually: the AddressPool has the addresses, and its status says that they
// can be given; without addresses, there is no such pool.
func (i installation) hasPool(name string, addresses ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := get(ctx, i, &v1alpha1.AddressPool{}, name)
		switch {
		case err != nil:
			return err
		case found == nil && len(addresses) > 0:
			return fmt.Errorf("there is no pool %s", name)
		case found != nil && (!slices.Equal(found.Spec.Addresses, addresses) || found.Status.Available == ""):
			return fmt.Errorf("pool %s is %+v, want %v", name, found, addresses)
		}
		return nil
	}
}

// A first install declares pools before the API server knows the kind. They come with it, follow
// what is declared, and go when they are declared no more; another's stays.
func TestPoolsAreDeclared(t *testing.T) {
	i := installation{fairway.Start(t, fairway.Options{
		Envoys: -1, Flags: []string{"--declared", configMap.Name, "--assign-addresses", "--address-namespace", "fairway-system"},
		Before: func(r *fairway.Installation) {
			r.Cluster.Kubectl(t, mayGiveAddresses, "apply", "-f", "-")
			r.Create(t, of(configMap, map[string]string{"lan.yaml": pool("lan", "192.0.2.1-192.0.2.9")}))
		},
	})}
	fairway.Eventually(t, patience, i.Ready)
	i.InstallCustomResources(t)
	fairway.Eventually(t, 2*patience, i.hasPool("lan", "192.0.2.1-192.0.2.9"))
	i.Cluster.Kubectl(t, pool("own", "198.51.100.1"), "apply", "-f", "-")

	i.declare(t, configMap, map[string]string{"lan.yaml": pool("lan", "192.0.2.1-192.0.2.4"), "office.yaml": pool("office", "192.0.2.8")})
	fairway.Eventually(t, patience, i.hasPool("lan", "192.0.2.1-192.0.2.4"))
	fairway.Eventually(t, patience, i.hasPool("office", "192.0.2.8"))
	i.Cluster.Kubectl(t, "", "delete", "addresspool", "office")
	fairway.Eventually(t, patience, i.hasPool("office", "192.0.2.8"))

	i.declare(t, configMap, map[string]string{"office.yaml": pool("office", "192.0.2.8")})
	fairway.Eventually(t, patience, i.hasPool("lan"))
	if err := i.hasPool("own", "198.51.100.1")(t.Context()); err != nil {
		t.Errorf("a pool that was never declared: %v", err)
	}
}
