package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// await returns when the lab is in the state that its options ask for.
func (l *Lab) await(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(l.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	l.say("machines are on")
	if err := l.until(ctx, "API server", func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	if l.Options.CoreDNS {
		if err := l.applyCoreDNS(ctx); err != nil {
			return err
		}
	}
	// Without it the API server admits no pods.
	if err := l.until(ctx, "ServiceAccount of the namespace default", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := l.install(ctx); err != nil {
		return err
	}
	state := "registered"
	if l.Options.networked() {
		state = "registered and Ready"
	}
	if err := l.until(ctx, fmt.Sprintf("%d nodes %s", len(l.Options.nodeNames()), state), func(ctx context.Context) error {
		return l.nodes(ctx, client)
	}); err != nil {
		return err
	}
	for name, wanted := range map[string]bool{"coredns": l.Options.CoreDNS, "fairway-dns": l.Options.hasDNS()} {
		if !wanted {
			continue
		}
		if err := l.until(ctx, name, func(ctx context.Context) error { return dnsReady(ctx, client, name) }); err != nil {
			return err
		}
	}
	switch {
	case l.Options.Shop:
		return l.openShop(ctx)
	case l.Options.hasIngress() && !l.Options.hasChart(): // its pods needed what others provide
		return l.installFairway(ctx)
	default:
		return nil
	}
}

// install installs what nodes and pods need of Fairway. All of it is one install, as users do it: nothing
// works yet, and every part waits for those that it needs.
func (l *Lab) install(ctx context.Context) error {
	switch {
	case !l.Options.hasChart():
		return nil
	case l.Options.hasIngress():
		return l.installFairway(ctx)
	default:
		return l.installParts(ctx)
	}
}

// until calls missing until it returns nil, and reports progress.
func (l *Lab) until(ctx context.Context, what string, missing func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.Options.Patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := missing(ctx)
		if off := l.off(ctx); off != "" {
			return fmt.Errorf("wait for %s: the machine %s has gone off", what, off)
		}
		if err == nil {
			l.say("%s", what)
			return nil
		}
		select {
		case <-tick.C:
		case <-l.ended:
			return fmt.Errorf("wait for %s: the rack ended", what)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (%w)", what, err, context.Cause(ctx))
		}
	}
}

// off is the name of a machine that is off, if any. It is empty if the rack does
// not answer yet.
func (l *Lab) off(ctx context.Context) string {
	states, err := l.rack.Machines(ctx)
	if err != nil {
		return ""
	}
	for _, state := range states {
		if !state.On {
			return state.Name
		}
	}
	return ""
}

// nodes says which nodes are missing, or not Ready although they can be.
func (l *Lab) nodes(ctx context.Context, client kubernetes.Interface) error {
	var missing []error
	for _, name := range l.Options.nodeNames() {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case err != nil:
			missing = append(missing, err)
		case l.Options.networked() && !ready(node):
			missing = append(missing, fmt.Errorf("node %s is not Ready", node.Name))
		}
	}
	return errors.Join(missing...)
}

func ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
