package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// probe asks Envoy again and again on one connection, for as long as Envoy
// keeps it.
type probe struct {
	connection net.Conn
	answers    *bufio.Reader
}

func newProbe(b *testing.B) *probe {
	b.Helper()
	p := &probe{}
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
	connection, err := net.Dial("tcp", "127.0.0.1:8080")
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

// patience is how long a change may take before the benchmark gives up.
const patience = time.Minute

// await returns when backend answers for host; an empty backend is none.
func (p *probe) await(b *testing.B, host, backend string) {
	b.Helper()
	end := time.Now().Add(patience)
	// Often enough to measure milliseconds, seldom enough to leave the
	// processor to what is measured.
	for range time.Tick(200 * time.Microsecond) {
		answered, err := p.ask(host)
		if err == nil && answered == backend {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("%s: answered by %q, not by %q: %v", host, answered, backend, err)
		}
	}
}

// ask returns which backend answers for host.
func (p *probe) ask(host string) (string, error) {
	if err := p.connect(); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(p.connection, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		p.disconnect()
		return "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if response.Close {
		p.disconnect()
	}
	return response.Header.Get("Backend"), err
}

// metricSum adds up the series of a counter.
func metricSum(ctx context.Context, metrics netip.AddrPort, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics.String()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, name+"{") {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return 0, err
			}
			sum += value
		}
	}
	return sum, lines.Err()
}

// quantile is the q-quantile of samples, by the nearest rank.
func quantile(samples []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
