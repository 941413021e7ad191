//go:build lab && network

package lab

import (
	"encoding/json"
	"net"
	"testing"
)

// BenchmarkDNS asks the cluster's DNS from a pod of the other node: through its Service, and a pod of it
// directly.
func BenchmarkDNS(b *testing.B) {
	l := Start(b, Options{Nodes: 2, Fairway: Network, DNS: true})
	l.Kubectl(b, echoPod("one", "n1"), "apply", "-f", "-")
	l.Kubectl(b, "", "wait", "--for=condition=Ready", "pod", "one", "--timeout=2m")
	pod := l.Kubectl(b, "", "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[0].status.podIP}")
	for name, server := range map[string]string{"Service": clusterDNS, "pod": net.JoinHostPort(pod, "53")} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				said := l.Kubectl(b, "", "exec", "one", "--", "/echo", "dns", "--rate", "500", "--for", "20s", server, "kubernetes.default.svc.cluster.local")
				var seen tally
				if err := json.Unmarshal([]byte(said), &seen); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(seen.Median*1e6, "µs-p50")
				b.ReportMetric(seen.P99*1e6, "µs-p99")
				b.ReportMetric(float64(seen.Failures), "failed")
			}
		})
	}
}
