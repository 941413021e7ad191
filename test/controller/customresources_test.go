package controller_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/olddefinitions"
)

// An upgrade that leaves the custom resources old is said wherever somebody may look,
// and serves. When they are upgraded, nothing is said any more.
func TestOldCustomResourcesAreSaid(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.1.1")
	r := fairway.Start(t, fairway.Options{Before: func(r *fairway.Installation) {
		r.Cluster.Kubectl(t, olddefinitions.Manifest(t, "Issuer.spec.controller", "GatewayConfig"), "apply", "--server-side", "-f", "-")
		r.Cluster.Kubectl(t, "", "wait", "--for=condition=Established", "--timeout="+time.Minute.String(),
			"crd/clustergatewayconfigs.fairway.dev", "crd/issuers.fairway.dev")
		// The API server serves a definition some seconds before it publishes its fields. A
		// controller that looks in between finds none of ours, and looks again after 20 to 40 s.
		fairway.Eventually(t, patience, func(context.Context) error {
			published, err := r.Cluster.TryKubectl("", "get", "--raw", "/openapi/v3/apis/fairway.dev/v1alpha1")
			if err == nil && !(strings.Contains(published, `"kind":"ClusterGatewayConfig"`) && strings.Contains(published, `"kind":"Issuer"`)) {
				err = fmt.Errorf("not published yet: %.200s", published)
			}
			return err
		})
	}})
	r.Controller.Tolerate("are older than this version")
	r.Create(t, fairway.Class("fairway"), fairway.Service("shop"), fairway.Slice("shop", "10.77.1.1"),
		fairway.Ingress("shop", "fairway", "shop.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Answers("shop.test", "/", "shop"))
	metrics := "http://" + r.Metrics.String()
	const lacks = "lack kind GatewayConfig, spec.controller of Issuer:"
	fairway.Eventually(t, patience, says(metrics+"/readyz", "ok\nnote: "))
	fairway.Eventually(t, patience, says(metrics+"/readyz", lacks))
	fairway.Eventually(t, patience, says(metrics+"/metrics", "fairway_custom_resource_fields_missing 2\n"))
	fairway.Eventually(t, patience, func(context.Context) error {
		if log := r.Controller.Log(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "kind GatewayConfig, spec.controller of Issuer") {
			return fmt.Errorf("the log does not say what is missing:\n%s", log)
		}
		return nil
	})
	if said := r.Fairway(t, r.Cluster.Config, "status"); said.Code != 1 || !strings.Contains(said.Out, lacks) {
		t.Errorf("status ends with %d and says:\n%s%s", said.Code, said.Out, said.Err)
	}

	r.InstallCustomResources(t)
	fairway.Eventually(t, 3*patience, saysNot(metrics+"/readyz", "note: "))
	fairway.Eventually(t, patience, says(metrics+"/metrics", "fairway_custom_resource_fields_missing 0\n"))
	if said := r.Fairway(t, r.Cluster.Config, "status"); said.Code != 0 || strings.Contains(said.Out, "lack") {
		t.Errorf("status ends with %d and says:\n%s%s", said.Code, said.Out, said.Err)
	}
	permitted(t, r)
}
