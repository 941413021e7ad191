// Package report tells people what is wrong: by an event on the pod, so that it is seen where
// people look first, and in the log. It decides nothing.
package report

import (
	"context"
	"fmt"
	"time"

	clog "github.com/coredns/coredns/plugin/pkg/log"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Pod is the pod that events are about. Without a name there are none.
type Pod struct{ Namespace, Name string }

// Events writes events. The zero value only logs.
type Events struct {
	Pod
	Client kubernetes.Interface
}

// patience is how long the API server may take.
const patience = 5 * time.Second

// Config is how to reach the API server: by a file, or as the account of the pod.
func Config(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// New makes Events for a pod. It asks nobody.
func New(kubeconfig string, pod Pod) (Events, error) {
	if pod.Name == "" {
		return Events{}, nil
	}
	config, err := Config(kubeconfig)
	if err != nil {
		return Events{}, fmt.Errorf("find the API server: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	return Events{pod, client}, err
}

// Warn reports what is wrong, and returns at once.
func (e Events) Warn(reason, message string) {
	clog.Errorf("%s: %s", reason, message)
	if e.Client == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.write(ctx, reason, message, time.Now()); err != nil {
			clog.Warningf("write event %s: %v", reason, err)
		}
	}()
}

func (e Events) write(ctx context.Context, reason, message string, now time.Time) error {
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: e.Namespace, Name: e.Name}
	at := metav1.NewTime(now)
	_, err := e.Client.CoreV1().Events(e.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Name: fmt.Sprintf("%s.%x", e.Name, now.UnixNano()),
		},
		InvolvedObject: about, Reason: reason, Message: message, Type: corev1.EventTypeWarning,
		Source: corev1.EventSource{Component: "fairway-dns"}, FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}, metav1.CreateOptions{})
	return err
}
