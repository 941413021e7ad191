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
	addresses := l.Options.dnsAddresses()
	manifest := strings.NewReplacer(
		"CLUSTER_IPS", strings.Join(addresses, `", "`), "CLUSTER_IP", addresses[0], "IMAGE", CoreDNSImage,
	).Replace(coreDNS)
	_, err := l.TryKubectl(ctx, manifest, "apply", "-f", "-")
	return err
}

// dnsAddresses are the addresses of the cluster's DNS, one of each family.
func (o Options) dnsAddresses() []string {
	var all []string
	for _, r := range o.Families.ranges() {
		all = append(all, host(r.services, dnsHost).String())
	}
	return all
}

// dnsReady says which of the pods of a Deployment are not Ready.
func dnsReady(ctx context.Context, client kubernetes.Interface, name string) error {
	deployment, err := client.AppsV1().Deployments("kube-system").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if deployment.Status.ReadyReplicas < *deployment.Spec.Replicas {
		return fmt.Errorf("%d of %d pods are Ready", deployment.Status.ReadyReplicas, *deployment.Spec.Replicas)
	}
	return nil
}
