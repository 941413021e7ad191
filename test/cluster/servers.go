package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/test/child"
	"github.com/fairwaynet/fairway/test/tools"
)

// patience is how long a server may take to start. It takes 2 to 4 seconds on an
// idle machine.
const patience = 90 * time.Second

// StopAPIServer kills kube-apiserver as a crash would: connections break and new
// ones are refused. Stored objects stay.
func (c *Cluster) StopAPIServer() { c.apiserver.Kill() }

// StartAPIServer starts kube-apiserver after StopAPIServer, at the same address
// and with the same keys, and returns when it is ready.
func (c *Cluster) StartAPIServer() error {
	path, err := tools.Find("kube-apiserver")
	if err != nil {
		return err
	}
	if c.apiserver, err = child.Start(c.dir, exec.Command(path, c.apiserverFlags()...)); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		return fmt.Errorf("connect to kube-apiserver: %w", err)
	}
	defer client.CloseIdleConnections()
	// Readiness does not include the Namespace that tests write to.
	for _, path := range []string{"/readyz", "/api/v1/namespaces/default"} {
		if err := c.await(client, path); err != nil {
			return err
		}
	}
	return nil
}

// await returns when kube-apiserver answers a GET of the path with 200.
func (c *Cluster) await(client *http.Client, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := get(ctx, client, c.Config.Host+path)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.apiserver.Done():
			return fmt.Errorf("%w\n%s", c.apiserver.Err(), c.apiserver.Tail())
		case <-c.etcd.Done():
			return fmt.Errorf("%w\n%s", c.etcd.Err(), c.etcd.Tail())
		case <-ctx.Done():
			return fmt.Errorf("wait %s for kube-apiserver: %w\n%s", patience, err, c.Logs())
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, response.Status)
	}
	return nil
}

// startEtcd does not wait for etcd, because kube-apiserver does.
func (c *Cluster) startEtcd() error {
	path, err := tools.Find("etcd")
	if err != nil {
		return err
	}
	c.etcd, err = child.Start(c.dir, exec.Command(path, c.etcdFlags()...))
	return err
}

// etcdFlags make etcd listen on sockets in the cluster's folder. They need no
// port, and other programs do not find them.
func (c *Cluster) etcdFlags() []string {
	peer := "unix://" + c.path("peer.sock")
	return []string{
		"--name=test",
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=test=" + peer,
		"--unsafe-no-fsync", // no data outlives the test
		"--log-level=warn",
		// A single member elects itself after one timeout, so the timeout is
		// short.
		"--heartbeat-interval=20",
		"--election-timeout=200",
	}
}

func (c *Cluster) etcdURL() string { return "unix://" + c.path("etcd.sock") }

func (c *Cluster) apiserverFlags() []string {
	return append([]string{
		"--etcd-servers=" + c.etcdURL(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.port.number),
		"--permit-port-sharing", // shares the port with the reservation
		"--cert-dir=" + c.dir,
		"--tls-cert-file=" + c.path("apiserver.crt"),
		"--tls-private-key-file=" + c.path("apiserver.key"),
		"--client-ca-file=" + c.path("ca.crt"),
		"--authorization-mode=RBAC",
		"--anonymous-auth=false",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("tokens.key"),
		"--service-account-signing-key-file=" + c.path("tokens.key"),
		"--service-cluster-ip-range=" + c.options.ServiceRanges,
		"--allow-privileged",
		// There is no controller-manager to create the ServiceAccount "default".
		// Without it this plugin would refuse every Pod.
		"--disable-admission-plugins=ServiceAccount",
		// The reconciler would write a loopback address, which an EndpointSlice
		// may not hold.
		"--endpoint-reconciler-type=none",
		"--profiling=false",
	}, c.options.APIServerFlags...)
}
