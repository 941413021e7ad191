package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// gatewayAddress is where every Envoy here listens.
const gatewayAddress = "127.0.0.1:8080"

// probe asks Envoy again and again on one connection, for as long as Envoy
// keeps it.
type probe struct {
	// patience is how long a change may take before the benchmark gives up.
	patience time.Duration

	connection net.Conn
	answers    *bufio.Reader
}

func newProbe(b *testing.B, patience time.Duration) *probe {
	b.Helper()
	p := &probe{patience: patience}
	b.Cleanup(func() {
		if p.connection != nil {
			p.connection.Close()
		}
	})
	return p
}

func (p *probe) connect() error {
	if p.connection != nil {
		return nil
	}
	connection, err := net.Dial("tcp", gatewayAddress)
	if err != nil {
		return err
	}
	p.connection, p.answers = connection, bufio.NewReader(connection)
	return p.connection.SetDeadline(time.Now().Add(time.Hour))
}

func (p *probe) disconnect() {
	p.connection.Close()
	p.connection = nil
}

// answer is what a client sees; the zero value is none at all.
type answer struct {
	status  int
	backend string
}

// by is the answer of a backend.
func by(backend string) answer { return answer{http.StatusOK, backend} }

// none is the answer for a host that is not served.
var none = answer{status: http.StatusNotFound}

// await returns when host is answered as wanted, and how many answers before
// that were neither the one wanted nor the one that was right until then.
func (p *probe) await(ctx context.Context, host string, before, want answer) (wrong int, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	// Often enough to measure milliseconds, seldom enough to leave the
	// processor to what is measured.
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		answered, err := p.ask(host)
		switch answered {
		case want:
			return wrong, nil
		case before:
		default:
			wrong++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return wrong, fmt.Errorf("%s: answered %v, not %v, for %s: %w", host, answered, want, p.patience, err)
		}
	}
}

// ask returns what is answered for host.
func (p *probe) ask(host string) (answer, error) {
	if err := p.connect(); err != nil {
		return answer{}, err
	}
	if _, err := fmt.Fprintf(p.connection, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		p.disconnect()
		return answer{}, err
	}
	response, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		p.disconnect()
		return answer{}, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if response.Close {
		p.disconnect()
	}
	return answer{response.StatusCode, response.Header.Get("Backend")}, err
}
