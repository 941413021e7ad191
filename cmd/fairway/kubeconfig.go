package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/customresources"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// kubeconfig holds the flags that choose cluster and user for a command.
type kubeconfig struct {
	Path, Context string
}

func (k *kubeconfig) bind(flags *pflag.FlagSet) {
	flags.StringVar(&k.Path, "kubeconfig", k.Path, "`file` that says how to reach the cluster; by default $KUBECONFIG or ~/.kube/config")
	flags.StringVar(&k.Context, "context", k.Context, "`name` of the context in the kubeconfig; by default the current context")
}

// reader reads the cluster with the user's permissions.
func (k *kubeconfig) reader() (snapshot.Reader, error) {
	config, err := k.config()
	if err != nil {
		return snapshot.Reader{}, err
	}
	config.QPS, config.Burst = 50, 100
	config.UserAgent = "fairway"
	scheme, err := index.Scheme()
	if err != nil {
		return snapshot.Reader{}, err
	}
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return snapshot.Reader{}, fmt.Errorf("reach the cluster: %w", err)
	}
	published, err := customresources.Document(config)
	if err != nil {
		return snapshot.Reader{}, err
	}
	return snapshot.Reader{Reader: direct, CustomResources: published}, nil
}

func (k *kubeconfig) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.Path
	overrides := &clientcmd.ConfigOverrides{CurrentContext: k.Context}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster: give --kubeconfig or set KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return config, nil
}

// bindKubeconfig declares the flag of a process that may run in a pod.
func bindKubeconfig(flags *pflag.FlagSet, path *string) {
	flags.StringVar(path, "kubeconfig", *path, "`file` that says how to reach the cluster; by default $KUBECONFIG, ~/.kube/config, or in a pod its own")
}

// clusterConfig returns the configuration for the API server of a process that may run in a
// pod, with as many requests a second, and at once.
func clusterConfig(path string, qps float32, burst int) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster to talk to: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst = qps, burst
	return config, nil
}
