package cluster

import (
	"fmt"
	"os"
)

// Snapshot keeps what is stored now. Restore brings that back, as people do who have lost their etcd:
// later changes are gone, and versions begin anew where they were. Both stop the servers for it, and
// return when they are ready again.
func (c *Cluster) Snapshot() (restore func() error, err error) {
	kept := c.path("etcd-snapshot")
	if err := c.still(func() error { return os.CopyFS(kept, os.DirFS(c.path("etcd"))) }); err != nil {
		return nil, fmt.Errorf("keep etcd: %w", err)
	}
	return func() error {
		err := c.still(func() error {
			if err := os.RemoveAll(c.path("etcd")); err != nil {
				return err
			}
			return os.Rename(kept, c.path("etcd"))
		})
		if err != nil {
			return fmt.Errorf("restore etcd: %w", err)
		}
		return nil
	}, nil
}

// still does something while no server runs.
func (c *Cluster) still(do func() error) error {
	c.StopAPIServer()
	c.etcd.Kill()
	if err := do(); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	return c.StartAPIServer()
}
