package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/cni/detach"
	"github.com/fairwaynet/fairway/cni/ipam"
)

// reclaimInterval is how often leases are compared with the pods that exist. No runtime is
// sure to call GC, so nobody else frees what a DEL that never came has left.
const reclaimInterval = 3 * time.Minute

// reclaim frees what no pod has any more, at once and then every few minutes.
func (a *Agent) reclaim(ctx context.Context) error {
	ticker := time.NewTicker(reclaimInterval)
	defer ticker.Stop()
	for {
		if err := a.reclaimOnce(ctx); err != nil && ctx.Err() == nil {
			a.Log.Error(err, "look for addresses that no pod has any more")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (a *Agent) reclaimOnce(ctx context.Context) error {
	// Leases first: none is then older than what it is judged by.
	leases, unreadable, err := a.leases.All()
	if err != nil {
		return err
	}
	seen := ipam.Node{Boot: a.boot, Booted: a.booted, Namespaces: namespaces(leases)}
	seen.Sandboxes, err = a.Sandboxes(ctx) // nil if it does not answer: nothing counts as leaked
	seen.Now = time.Now()
	wrong := []error{err}
	for _, lease := range leases {
		verdict := seen.Verdict(lease)
		if verdict == ipam.Alive {
			continue
		}
		if err := detach.Detach(ctx, a.leases, lease.Key); err != nil {
			wrong = append(wrong, fmt.Errorf("free the addresses of pod %s: %w", lease.Pod, err))
			continue
		}
		a.reclaimed(verdict, "pod", lease.Pod.String(), "container", lease.Container, "addresses", join(lease.Addresses))
	}
	for _, file := range unreadable {
		switch verdict := seen.VerdictUnreadable(file); verdict {
		case ipam.CutOff:
			if err := a.leases.RemoveUnreadable(ctx, file); err != nil {
				wrong = append(wrong, err)
				continue
			}
			a.reclaimed(verdict, "file", file.Name)
		default:
			wrong = append(wrong, fmt.Errorf("the file %s among the leases takes an address and cannot be read: %w", file.Name, file.Err))
		}
	}
	wrong = append(wrong, a.leases.Sweep(time.Now().Add(-ipam.Grace)))
	return errors.Join(wrong...)
}

func (a *Agent) reclaimed(verdict ipam.Verdict, what ...any) {
	a.Log.Info("an address that no pod has any more is free again", append(what, "verdict", string(verdict))...)
	a.Metrics.reclaimed.WithLabelValues(string(verdict)).Inc()
}

// namespaces returns which of the leases' network namespaces exist.
func namespaces(leases []ipam.Lease) map[ipam.Namespace]bool {
	exist := map[ipam.Namespace]bool{}
	for _, lease := range leases {
		is := ipam.Namespace{Device: lease.Namespace.Device, Inode: lease.Namespace.Inode}
		var stat unix.Stat_t
		switch err := unix.Stat(lease.Namespace.Path, &stat); {
		case err == nil:
			exist[ipam.Namespace{Device: stat.Dev, Inode: stat.Ino}] = true
		case strings.HasPrefix(lease.Namespace.Path, "/proc/") || !errors.Is(err, unix.ENOENT):
			exist[is] = true // it cannot be seen from here
		}
	}
	return exist
}

// uptime is how long the machine has been running; 0 if the kernel does not say.
func uptime() time.Duration {
	content, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}
