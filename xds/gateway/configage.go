package gateway

import (
	"sync"
	"time"
)

// configAge is the age of the configuration: the time since a controller to which this
// process was connected was last in contact with the API server.
type configAge struct {
	mu        sync.Mutex
	connected bool
	age       time.Duration // as the controller reported it
	at        time.Time     // of that report; zero: there was none yet
}

// report takes the age that a controller reports. An age of 0 stays 0 as long as that
// controller is connected.
func (p *configAge) report(age time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.age, p.at = true, age, time.Now()
}

// disconnected notes that the controller has disconnected.
func (p *configAge) disconnected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connected && p.age == 0 {
		p.at = time.Now() // until now the configuration was kept up to date
	}
	p.connected = false
}

// now is the present age; 0 also before the first report.
func (p *configAge) now() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() || p.connected && p.age == 0 {
		return 0
	}
	return p.age + time.Since(p.at)
}
