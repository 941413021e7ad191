package gateway

import (
	"sync"
	"time"
)

// picture is how old what the controllers say is: when one that this process was
// connected to was last in contact with the API server.
type picture struct {
	mu        sync.Mutex
	connected bool
	age       time.Duration // of the picture, as it was told
	at        time.Time     // when it was; zero: nobody has told anything yet
}

// told takes what a controller says. One that says that its picture is kept up to
// date does so as long as it is connected.
func (p *picture) told(age time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.age, p.at = true, age, time.Now()
}

// left takes that the controller is gone.
func (p *picture) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connected && p.age == 0 {
		p.at = time.Now() // until then it was kept up to date
	}
	p.connected = false
}

// old is how old the picture is; 0 also before anybody has said anything.
func (p *picture) old() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() || p.connected && p.age == 0 {
		return 0
	}
	return p.age + time.Since(p.at)
}
