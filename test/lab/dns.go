package lab

import (
	"context"
	_ "embed" // for the manifest
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

//go:embed coredns.yaml
var coreDNS string

// applyCoreDNS creates CoreDNS's objects, without waiting for its pods.
func (l *Lab) applyCoreDNS(ctx context.Context) error {
	var addresses []string
	for _, r := range l.Options.Families.ranges() {
		addresses = append(addresses, host(r.services, dnsHost).String())
	}
	manifest := strings.NewReplacer(
		"CLUSTER_IPS", strings.Join(addresses, `", "`), "CLUSTER_IP", addresses[0], "IMAGE", CoreDNSImage,
	).Replace(coreDNS)
	_, err := l.TryKubectl(ctx, manifest, "apply", "-f", "-")
	return err
}

func coreDNSReady(ctx context.Context, client kubernetes.Interface) error {
	deployment, err := client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if deployment.Status.ReadyReplicas < *deployment.Spec.Replicas {
		return fmt.Errorf("%d of %d pods are Ready", deployment.Status.ReadyReplicas, *deployment.Spec.Replicas)
	}
	return nil
}
