package link

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls changed when something of the node's interfaces, addresses or routes changes
// that may concern us, whoever did it, until ctx ends. It says so, too, when the kernel had
// more to tell than it could. It is called often, and must not block.
func Watch(ctx context.Context, changed func()) error {
	const pause = 200 * time.Millisecond // between two tries to listen
	for first := true; ; first = false {
		done := make(chan struct{})
		lost := make(chan struct{}, 1)
		w := watch{done: done, lost: lost}
		err := w.open()
		if err != nil && first {
			close(done)
			return fmt.Errorf("listen to the kernel's changes of interfaces and routes: %w", err)
		}
		if !first {
			changed()
		}
		if err == nil {
			w.run(ctx, changed)
		}
		close(done)
		w.drain()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

type watch struct {
	done chan struct{}
	lost chan struct{}

	links     chan netlink.LinkUpdate
	addresses chan netlink.AddrUpdate
	routes    chan netlink.RouteUpdate
}

// buffered is how many changes may wait. The kernel's own buffer comes before it.
const buffered = 256

func (w *watch) open() error {
	told := func(error) {
		select {
		case w.lost <- struct{}{}:
		default:
		}
	}
	links, addresses, routes := make(chan netlink.LinkUpdate, buffered), make(chan netlink.AddrUpdate, buffered), make(chan netlink.RouteUpdate, buffered)
	if err := netlink.LinkSubscribeWithOptions(links, w.done, netlink.LinkSubscribeOptions{ErrorCallback: told}); err != nil {
		return err
	}
	w.links = links
	if err := netlink.AddrSubscribeWithOptions(addresses, w.done, netlink.AddrSubscribeOptions{ErrorCallback: told}); err != nil {
		return err
	}
	w.addresses = addresses
	if err := netlink.RouteSubscribeWithOptions(routes, w.done, netlink.RouteSubscribeOptions{ErrorCallback: told}); err != nil {
		return err
	}
	w.routes = routes
	return nil
}

// drain reads what the library still has to say, so that its goroutines end.
func (w *watch) drain() {
	drain(w.links)
	drain(w.addresses)
	drain(w.routes)
}

// drain reads a channel until it is closed; nil: nobody writes into it.
func drain[T any](from chan T) {
	if from == nil {
		return
	}
	go func() {
		for range from {
		}
	}()
}

// run tells of changes until something was lost.
func (w *watch) run(ctx context.Context, changed func()) {
	for {
		var open bool
		concerns := true
		select {
		case <-ctx.Done():
			return
		case <-w.lost:
			return
		case _, open = <-w.links:
		case update, ok := <-w.addresses:
			open, concerns = ok, !update.LinkAddress.IP.IsLinkLocalUnicast()
		case update, ok := <-w.routes:
			open, concerns = ok, update.Type == unix.RTM_DELROUTE && update.Protocol == Protocol
		}
		if !open {
			return
		}
		if concerns {
			changed()
		}
	}
}
