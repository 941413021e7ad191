package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

// reign is how long after the begin of a renewal a replica keeps its Envoys. Then
// they have homecoming to connect to another replica, before the others stop
// waiting for this one's Envoys.
const reign = Duration - homecoming

// Contact knows whether this replica is in contact with the API server: whether
// its Lease was renewed a moment ago. Before the first renewal it is not.
//
// The time of a renewal is when it began, by our monotonic clock. The other
// replicas count from when they saw it, which is later. So we know that we are cut
// off before they take us for dead. Use NewContact.
type Contact struct {
	log   logr.Logger
	lost  func(since time.Time)
	found func()

	mu      sync.Mutex
	last    time.Time // when the last renewal began; before the first, when the Contact was made
	ever    bool      // there was a renewal
	failure error     // of the last try; nil: it succeeded
	out     bool
	back    time.Time // when contact was last regained
	timer   *time.Timer
	changed chan struct{} // closed when out changes
}

// NewContact makes a Contact. It calls lost, at once and on every loss, with the
// time since when there has been no contact. It calls found when there is contact
// again. Both are called one at a time, must not block, and must not call the
// Contact.
func NewContact(log logr.Logger, lost func(since time.Time), found func()) *Contact {
	c := &Contact{log: log, lost: lost, found: found, last: time.Now(), out: true, changed: make(chan struct{})}
	lost(c.last)
	return c
}

// renewed says that a renewal which began at began has succeeded.
func (c *Contact) renewed(began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, again := c.last, c.ever
	c.last, c.ever, c.failure = began, true, nil
	left := time.Until(began.Add(reign))
	if c.timer != nil {
		c.timer.Stop()
	}
	if left <= 0 {
		c.lose() // it took too long to tell us anything
		return
	}
	c.timer = time.AfterFunc(left, c.late)
	if !c.out {
		return
	}
	if again {
		c.log.Info("in contact with the API server again, and ready for Envoys", "after", began.Sub(before).Round(time.Second).String())
	}
	c.back = time.Now()
	c.turn(false)
	c.found()
}

// failed says that a renewal has failed.
func (c *Contact) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
}

// late is called when a renewal is overdue.
func (c *Contact) late() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) >= reign {
		c.lose()
	}
}

func (c *Contact) lose() {
	if c.out {
		return
	}
	text := "the API server has not answered"
	if c.failure != nil {
		text = c.failure.Error()
	}
	c.log.Info("cut off from the API server: Envoys are sent to other replicas, and served here if they find none", "cause", text)
	c.turn(true)
	c.lost(c.last)
}

func (c *Contact) turn(out bool) {
	c.out = out
	close(c.changed)
	c.changed = make(chan struct{})
}

// settled reports whether there is contact, and whether it has lasted so long that
// the Envoys which we sent away have found a controller.
func (c *Contact) settled(now time.Time) (in, settled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.out, !c.out && now.Sub(c.back) >= homecoming
}

// Err returns why this replica is cut off; nil: it is not.
func (c *Contact) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out {
		return nil
	}
	text := "the replica's Lease is not written yet"
	if c.ever {
		text = fmt.Sprintf("cut off from the API server for %s, Envoys are sent to other replicas", time.Since(c.last).Round(time.Second))
	}
	if c.failure == nil {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %w", text, c.failure)
}

// While runs do whenever there is contact, until ctx ends. The context of do ends
// with the contact. If do returns an error on its own, While returns it.
func (c *Contact) While(ctx context.Context, do func(context.Context) error) error {
	for {
		c.mu.Lock()
		out, changed := c.out, c.changed
		c.mu.Unlock()
		if !out {
			if err := during(ctx, changed, do); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// during runs do until over is closed or ctx ends.
func during(ctx context.Context, over <-chan struct{}, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-over:
		cancel()
		return <-ended
	case <-ctx.Done():
		return <-ended
	}
}

// Describe implements prometheus.Collector.
func (c *Contact) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- contactAge() }

// Collect implements prometheus.Collector.
func (c *Contact) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	age := time.Since(c.last)
	c.mu.Unlock()
	metrics <- prometheus.MustNewConstMetric(contactAge(), prometheus.GaugeValue, age.Seconds())
}

func contactAge() *prometheus.Desc {
	return prometheus.NewDesc("fairway_contact_age_seconds",
		"How long ago this replica began the last renewal of its Lease that succeeded.", nil, nil)
}
