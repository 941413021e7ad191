package announce

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Times.
const (
	tick      = 100 * time.Millisecond // of the clock that sees pauses
	gap       = time.Second            // from which on it was a pause
	repeat    = 20 * time.Second       // between two announcements of an address
	probes    = 3
	probeWait = 200 * time.Millisecond // for an answer to each
)

// burst is when an address is announced after it was taken: whoever misses one frame hears
// another.
func burst() []time.Duration {
	return []time.Duration{0, 200 * time.Millisecond, time.Second, 3 * time.Second}
}

// Options are what an Announcer is told.
type Options struct {
	// Sure says whether this node knows now that what it holds is its own. Otherwise it only
	// answers.
	Sure func() bool
	// Heard is called when another machine says that it has an address that is held here. It
	// must not block.
	Heard func(a netip.Addr, mac net.HardwareAddr)
	// Paused is called after a pause of the process. Nothing is answered from then on until
	// Resume. It must not block.
	Paused func()
	// Failed is called when a frame cannot be sent. It must not block.
	Failed func(a netip.Addr, err error)
}

// Announcer answers for addresses. Its methods may be called concurrently.
type Announcer struct {
	Options

	mu     sync.Mutex
	ports  map[string]*port
	held   map[netip.Addr]*holding
	asked  map[netip.Addr]chan Answer // by probes
	silent bool
	ticked time.Time
}

// holding is an address that is answered for.
type holding struct {
	device string
	next   []time.Duration // of the burst, since
	since  time.Time       // it was taken or announced last
}

// New returns an Announcer that holds nothing.
func New(options Options) *Announcer {
	return &Announcer{
		Options: options, ports: map[string]*port{}, held: map[netip.Addr]*holding{},
		asked: map[netip.Addr]chan Answer{}, ticked: time.Now(),
	}
}

// Hold answers for an address on an interface from now on, and announces it.
func (a *Announcer) Hold(address netip.Addr, device string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.held[address]; h != nil {
		if h.device == device && a.ports[device] != nil {
			return nil
		}
		a.drop(address)
	}
	p, err := a.port(device)
	if err != nil {
		return err
	}
	if address.Is6() {
		if err := p.join(address); err != nil {
			a.closeUnused()
			return fmt.Errorf("answer for %s on interface %s: %w", address, device, err)
		}
	}
	a.held[address] = &holding{device: device, next: burst(), since: time.Now()}
	a.announce()
	return nil
}

// Drop answers for an address no more.
func (a *Announcer) Drop(address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(address)
	a.closeUnused()
}

// Announce announces an address that is held at once, and some times more: others may believe
// that somebody else has it.
func (a *Announcer) Announce(address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.held[address]; h != nil {
		h.next, h.since = burst(), time.Now()
		a.announce()
	}
}

// Held are the addresses that are answered for, and on which interface.
func (a *Announcer) Held() map[netip.Addr]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[netip.Addr]string{}
	for address, h := range a.held {
		all[address] = h.device
	}
	return all
}

// Resume answers again after a pause.
func (a *Announcer) Resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent = false
}

// Answer is what a probe hears of another machine. Without a MAC it is nothing.
type Answer struct {
	MAC net.HardwareAddr
	// Wants says that the machine does not have the address: it was probing for it, too.
	Wants bool
}

// Probe asks on an interface who has an address. A machine that has it counts more than one that
// wants it.
func (a *Announcer) Probe(ctx context.Context, address netip.Addr, device string) (Answer, error) {
	answered := make(chan Answer, 1)
	a.mu.Lock()
	p, err := a.port(device)
	if err == nil {
		a.asked[address] = answered
	}
	a.mu.Unlock()
	if err != nil {
		return Answer{}, err
	}
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.asked, address)
		a.closeUnused()
	}()
	var heard Answer
	for range probes {
		if err := p.send(address, probe(p.device.HardwareAddr, address)); err != nil {
			return Answer{}, fmt.Errorf("ask for %s on interface %s: %w", address, device, err)
		}
		for waiting := time.After(probeWait); waiting != nil; {
			select {
			case heard = <-answered:
				if !heard.Wants {
					return heard, nil
				}
			case <-ctx.Done():
				return Answer{}, ctx.Err()
			case <-waiting:
				waiting = nil
			}
		}
	}
	return heard, nil
}

// Run repeats announcements and looks for pauses, until ctx ends. Then it answers nothing any
// more.
func (a *Announcer) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			a.mu.Lock()
			defer a.mu.Unlock()
			clear(a.held)
			clear(a.asked)
			a.closeUnused()
			return nil
		case <-ticker.C:
		}
		a.mu.Lock()
		a.awake()
		a.ticked = time.Now()
		if n%int(gap/tick) == 0 {
			a.reopen()
		}
		a.announce()
		a.mu.Unlock()
	}
}

// awake reports whether the process had no pause lately.
func (a *Announcer) awake() bool {
	if time.Since(a.ticked) > gap && !a.silent {
		a.silent = true
		a.Paused()
	}
	return !a.silent
}

// port returns an open interface.
func (a *Announcer) port(device string) (*port, error) {
	if p := a.ports[device]; p != nil {
		return p, nil
	}
	p, err := open(device, a.hear)
	if err != nil {
		return nil, err
	}
	a.ports[device] = p
	return p, nil
}

// drop gives an address up.
func (a *Announcer) drop(address netip.Addr) {
	h := a.held[address]
	if h == nil {
		return
	}
	delete(a.held, address)
	if p := a.ports[h.device]; p != nil && address.Is6() {
		p.part(address)
	}
}

// closeUnused closes interfaces at which nothing is answered or asked.
func (a *Announcer) closeUnused() {
	if len(a.asked) > 0 {
		return
	}
	used := map[string]bool{}
	for _, h := range a.held {
		used[h.device] = true
	}
	for device, p := range a.ports {
		if !used[device] {
			p.close()
			delete(a.ports, device)
		}
	}
}

// reopen opens interfaces anew that were made anew, or have another MAC.
func (a *Announcer) reopen() {
	for device, p := range a.ports {
		if p.same() {
			continue
		}
		p.close()
		delete(a.ports, device)
		now, err := a.port(device)
		for address, h := range a.held {
			if h.device != device {
				continue
			}
			if err == nil && address.Is6() {
				err = now.join(address)
			}
			if err != nil {
				a.Failed(address, err)
				delete(a.held, address) // whoever wants it says so again
				continue
			}
			h.next, h.since = burst(), time.Now()
		}
	}
}

// announce announces what is due.
func (a *Announcer) announce() {
	if len(a.held) == 0 || a.silent || !a.Sure() {
		return
	}
	now := time.Now()
	for address, h := range a.held {
		if len(h.next) > 0 && now.Sub(h.since) >= h.next[0] {
			h.next = h.next[1:]
		} else if now.Sub(h.since) < repeat {
			continue
		} else {
			h.since = now
		}
		p := a.ports[h.device]
		if p == nil {
			continue
		}
		for _, frame := range announcements(p.device.HardwareAddr, address) {
			if err := p.send(address, frame); err != nil {
				a.Failed(address, fmt.Errorf("announce %s on interface %s: %w", address, h.device, err))
			}
		}
	}
}

// hear answers, and tells of whoever else claims what is held.
func (a *Announcer) hear(p *port, h heard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if asked := a.asked[h.address]; asked != nil && (h.claims || h.sender.IsUnspecified()) { // who probes wants it, too
		select {
		case asked <- Answer{append(net.HardwareAddr(nil), h.mac...), !h.claims}:
		default:
		}
	}
	held := a.held[h.address]
	if held == nil || a.ports[held.device] != p { // or the interface was opened anew meanwhile
		return
	}
	if h.claims {
		a.Heard(h.address, append(net.HardwareAddr(nil), h.mac...))
		return
	}
	if !a.awake() {
		return
	}
	if err := p.send(h.address, h.answer(p.device.HardwareAddr)); err != nil {
		a.Failed(h.address, fmt.Errorf("answer for %s on interface %s: %w", h.address, held.device, err))
	}
}
