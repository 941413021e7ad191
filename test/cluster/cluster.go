package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/child"
)

// Options change how a cluster starts. The zero value suits most tests.
type Options struct {
	// ServiceRanges are the ranges of cluster IPs, one per family, separated by a
	// comma. Empty means 10.96.0.0/16,fd00:10:96::/112.
	ServiceRanges string

	// APIServerFlags are appended to kube-apiserver's flags, so that they
	// override earlier ones.
	APIServerFlags []string
}

// Cluster is one etcd and one kube-apiserver. Its methods are safe for concurrent
// use, except StopAPIServer, StartAPIServer and Down.
type Cluster struct {
	// Config is the administrator's configuration, of the group system:masters.
	// It has no client-side rate limit. Copy it before changing it.
	Config *rest.Config

	// Kubeconfig is the path of a kubeconfig with the same rights.
	Kubeconfig string

	dir       string
	options   Options
	authority *authority.Authority
	port      *reservation
	etcd      *child.Process
	apiserver *child.Process
}

// Start runs a cluster until the test ends. If the test failed, the last lines
// of the servers' logs are part of its output.
func Start(t testing.TB, options Options) *Cluster {
	t.Helper()
	c, err := Up(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		if err := c.Down(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Up is Start for code without a test, such as TestMain. The caller calls Down.
// An error holds the last lines of the log of the server that did not start.
func Up(options Options) (_ *Cluster, err error) {
	if options.ServiceRanges == "" {
		options.ServiceRanges = "10.96.0.0/16,fd00:10:96::/112"
	}
	// t.TempDir would include the test's name, which would make the path of
	// etcd's socket longer than the 107 bytes that are allowed.
	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c := &Cluster{dir: dir, options: options}
	if err := c.up(); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Down())
	}
	return c, nil
}

func (c *Cluster) up() (err error) {
	if c.port, err = reserve(); err != nil {
		return err
	}
	if c.authority, err = authority.New("cluster", 24*time.Hour); err != nil {
		return err
	}
	if err := c.writeServerKeys(); err != nil {
		return err
	}
	c.Config = c.User("admin", "system:masters")
	if c.Kubeconfig, err = c.WriteKubeconfig(c.Config); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	return c.StartAPIServer()
}

// Down kills both servers at once and removes the cluster's folder. Calling it
// again does nothing.
func (c *Cluster) Down() error {
	c.StopAPIServer()
	c.etcd.Kill()
	c.port.release()
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("stop cluster: %w", err)
	}
	return nil
}

// Logs is the end of the servers' logs.
func (c *Cluster) Logs() string {
	return c.etcd.Tail() + c.apiserver.Tail()
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }
