//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

const (
	startRounds = 6 // of which the first warms up
	startPods   = 50
)

// The moments of a pod's start, after its creation.
const (
	hasNetwork = "its sandbox has a network" // the condition PodReadyToStartContainers
	isReady    = "it is Ready"
)

// contestant is a lab whose pods are started.
type contestant struct {
	name   string
	lab    *Lab
	client kubernetes.Interface
	rounds map[string][][]time.Duration // how long each pod took, by moment
}

// BenchmarkPodStart measures how long pods take from their creation until they are Ready, when
// fifty of one node are created at once: with Fairway's network, and with the reference network.
// Both labs run all the time, and take turns. The scheduler has no part: the pods name their
// node. Times are those at which a watch told of a condition.
func BenchmarkPodStart(b *testing.B) {
	all := []*contestant{
		{name: "ptp + host-local", lab: Start(b, Options{Nodes: 1, Families: DualStack, ReferenceNetwork: true})},
		{name: "Fairway", lab: Start(b, Options{Nodes: 1, Families: DualStack, Fairway: Network})},
	}
	for _, c := range all {
		client, err := kubernetes.NewForConfig(c.lab.Config)
		if err != nil {
			b.Fatal(err)
		}
		c.client = client
	}
	for b.Loop() {
		for _, c := range all {
			c.rounds = map[string][][]time.Duration{}
		}
		for round := range startRounds {
			for _, c := range all {
				took, err := c.round(b.Context())
				if err != nil {
					b.Fatalf("%s, round %d: %v", c.name, round, err)
				}
				for moment, each := range took {
					if round > 0 {
						c.rounds[moment] = append(c.rounds[moment], each)
					}
				}
			}
		}
	}
	printStarts(all)
}

// round starts the pods, removes them, and returns how long each took.
func (c *contestant) round(ctx context.Context) (map[string][]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	pods := c.client.CoreV1().Pods("default")
	of := func(o metav1.ListOptions) metav1.ListOptions {
		o.LabelSelector = "app=start"
		return o
	}
	none, err := pods.List(ctx, of(metav1.ListOptions{}))
	if err != nil {
		return nil, err
	}
	// The API server may end a watch at any time.
	watched, err := watchtools.NewRetryWatcherWithContext(ctx, none.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return pods.Watch(ctx, of(o))
		},
	})
	if err != nil {
		return nil, err
	}
	defer watched.Stop()
	var creating errgroup.Group
	for i := range startPods {
		creating.Go(func() error {
			_, err := pods.Create(ctx, startPod(i), metav1.CreateOptions{})
			return err
		})
	}
	seen, err := follow(watched)
	if err := errors.Join(creating.Wait(), err); err != nil {
		return nil, err
	}
	return seen, c.clear(ctx)
}

// startPod is a pod that a kubelet counts as Ready when it runs. Its creation is in an
// annotation, because the API server's has whole seconds.
func startPod(i int) *corev1.Pod {
	soon := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("start-%d", i), Labels: map[string]string{"app": "start"},
			Annotations: map[string]string{"created": time.Now().Format(time.RFC3339Nano)},
		},
		Spec: corev1.PodSpec{
			NodeName: "n1", TerminationGracePeriodSeconds: &soon,
			Containers: []corev1.Container{{Name: "echo", Image: EchoImage, ImagePullPolicy: corev1.PullNever}},
		},
	}
}

// follow waits until all pods are Ready, and notes when the conditions of each became true.
func follow(watched watch.Interface) (map[string][]time.Duration, error) {
	moments := map[corev1.PodConditionType]string{corev1.PodReadyToStartContainers: hasNetwork, corev1.PodReady: isReady}
	took := map[string][]time.Duration{}
	noted := map[string]bool{}
	for event := range watched.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("watch pods: %v", event.Object)
		}
		created, err := time.Parse(time.RFC3339Nano, pod.Annotations["created"])
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", pod.Name, err)
		}
		for _, condition := range pod.Status.Conditions {
			moment, key := moments[condition.Type], pod.Name+string(condition.Type)
			if moment != "" && condition.Status == corev1.ConditionTrue && !noted[key] {
				noted[key] = true
				took[moment] = append(took[moment], time.Since(created))
			}
		}
		if len(took[isReady]) == startPods {
			return took, nil
		}
	}
	return nil, fmt.Errorf("%d of %d pods became Ready", len(took[isReady]), startPods)
}

// clear removes the pods, and waits until they are gone.
func (c *contestant) clear(ctx context.Context) error {
	pods := c.client.CoreV1().Pods("default")
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=start"}); err != nil {
		return err
	}
	for {
		left, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=start"})
		if err != nil {
			return err
		}
		if len(left.Items) == 0 {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d pods are there still: %w", len(left.Items), ctx.Err())
		}
	}
}

// printStarts prints a table as docs/benchmarks.md has it. A ratio is the median of the rounds'
// ratios to the first contestant, since the machine is not the same all the time.
func printStarts(all []*contestant) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintf(table, "| p50 / p99 of %d pods, s (÷ %s)", (startRounds-1)*startPods, all[0].name)
	for _, c := range all {
		fmt.Fprintf(table, "\t| %s", c.name)
	}
	fmt.Fprintln(table, "\t|")
	for _, moment := range []string{hasNetwork, isReady} {
		fmt.Fprintf(table, "| from its creation until %s", moment)
		for _, c := range all {
			took := slices.Concat(c.rounds[moment]...)
			fmt.Fprintf(table, "\t| %.2f / %.2f (%.2f, %.2f)", quantile(took, 0.5), quantile(took, 0.99), c.ratio(all[0], moment, 0.5), c.ratio(all[0], moment, 0.99))
		}
		fmt.Fprintln(table, "\t|")
	}
	_ = table.Flush()
}

// ratio is the median of the rounds' ratios of a quantile.
func (c *contestant) ratio(to *contestant, moment string, q float64) float64 {
	var ratios []float64
	for i, took := range c.rounds[moment] {
		ratios = append(ratios, quantile(took, q)/quantile(to.rounds[moment][i], q))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// quantile of durations, in seconds.
func quantile(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Seconds()
}
