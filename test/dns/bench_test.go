package dns

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairwaynet/fairway/test/cluster"
)

// BenchmarkMemory weighs the DNS server in clusters of several sizes: each Service has one EndpointSlice
// with two endpoints.
func BenchmarkMemory(b *testing.B) {
	for _, number := range []int{1000, 10000} {
		b.Run(fmt.Sprint(number, " Services"), func(b *testing.B) {
			c := startCluster(b)
			if err := fill(b.Context(), c, number); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				began := time.Now()
				s := serve(b, c).up(b)
				b.ReportMetric(time.Since(began).Seconds(), "s-until-ready")
				s.become(b, time.Second, fmt.Sprintf("web-%d.default.svc.cluster.local", number-1), dns.TypeA, address(number-1))
				b.ReportMetric(resident(b, s.command.Process.Pid, "VmHWM"), "MiB-at-most")
				<-time.After(20 * time.Second) // what reading left behind is collected
				b.ReportMetric(resident(b, s.command.Process.Pid, "VmRSS"), "MiB")
				s.Kill()
			}
		})
	}
}

func address(i int) string { return fmt.Sprintf("10.96.%d.%d", 100+i/250, 1+i%250) }

// fill makes Services with endpoints.
func fill(ctx context.Context, c *cluster.Cluster, number int) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range 16 {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= number {
					return nil
				}
				if err := add(ctx, client, i); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

func add(ctx context.Context, client kubernetes.Interface, i int) error {
	name := fmt.Sprintf("web-%d", i)
	if _, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: address(i), Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	port, portName := int32(8080), "http"
	_, err := client.DiscoveryV1().EndpointSlices("default").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name + "-a", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{fmt.Sprintf("10.200.%d.%d", i/120, 1+i%120*2)}}, {Addresses: []string{fmt.Sprintf("10.200.%d.%d", i/120, 2+i%120*2)}},
		},
	}, metav1.CreateOptions{})
	return err
}

// resident is a process's memory in MiB.
func resident(b *testing.B, pid int, field string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, is := strings.CutPrefix(line, field+":"); is {
			kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kilobytes / 1024
		}
	}
	b.Fatal("no " + field)
	return 0
}
