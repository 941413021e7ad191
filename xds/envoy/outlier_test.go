package envoy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/power"
	"github.com/fairwaynet/fairway/xds/route"
)

// each changes all sockets of a pod.
func (p *pod) each(change func(...syscall.Conn) error) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	sockets := []syscall.Conn{p.listener.(syscall.Conn)}
	for conn := range p.conns {
		sockets = append(sockets, conn.(syscall.Conn))
	}
	if err := change(sockets...); err != nil {
		p.t.Error(err)
	}
}

func (p *pod) losesPower()   { p.t.Helper(); p.each(power.Cut) }
func (p *pod) regainsPower() { p.t.Helper(); p.each(power.Restore) }

var ejected = regexp.MustCompile(`::([0-9.]+:[0-9]+)::health_flags::.*failed_outlier_check`)

// setAside are the endpoints of the Service port that are set aside.
func (g *gateway) setAside(service string) (addresses []string) {
	for line := range strings.Lines(g.admin("/clusters")) {
		if found := ejected.FindStringSubmatch(line); found != nil && strings.HasPrefix(line, "shop/"+service+":80") {
			addresses = append(addresses, found[1])
		}
	}
	return addresses
}

// outlierGateway serves shop.test from pods, over HTTP/1.1 or HTTP/2.
func outlierGateway(t *testing.T, set func(*route.Settings), cluster func(*route.Cluster), pods ...*pod) *gateway {
	t.Helper()
	s := testSettings(t)
	s.OutlierDetection.BaseEjectionTime = time.Second
	if set != nil {
		set(&s)
	}
	web := prefix("/", "web")
	if cluster != nil {
		cluster(web.Cluster)
	}
	g := newGateway(t, s, host("shop.test", web))
	var addresses []string
	for _, p := range pods {
		addresses = append(addresses, p.address())
	}
	g.backend(port("web"), addresses...)
	g.knows(addresses...)
	return g
}

func newPods(t *testing.T, n int) (pods []*pod) {
	for range n {
		pods = append(pods, newPod(t, answering(newExecutions())))
	}
	return pods
}

// fetchUntil asks until check is content.
func (g *gateway) fetchUntil(what string, check func() error) {
	g.t.Helper()
	g.eventually(what, func() error {
		if r, err := g.tryRaw("GET / HTTP/1.1\nHost: shop.test\n\n"); err != nil || r.StatusCode != http.StatusOK {
			g.t.Errorf("%s: a request failed: %v, %v", what, r.Response, err)
		}
		return check()
	})
}

// Envoy ejects an endpoint to which it cannot connect, without failing any
// request, and takes it back when it can connect again.
func TestAnEndpointWithoutPowerIsSetAside(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			pods := newPods(t, n)
			g := outlierGateway(t, nil, nil, pods...)
			pods[0].losesPower()
			g.fetchUntil("it is set aside", func() error {
				if got := g.setAside("web"); !slices.Equal(got, []string{pods[0].address()}) {
					return fmt.Errorf("%v are set aside", got)
				}
				return nil
			})
			pods[0].regainsPower()
			g.fetchUntil("it is taken back", func() error {
				if got := g.setAside("web"); len(got) > 0 {
					return fmt.Errorf("%v are set aside", got)
				}
				return nil
			})
		})
	}
}

// The last endpoint is never set aside: it may be there the next moment.
func TestTheLastEndpointIsNeverSetAside(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			pods := newPods(t, n)
			g := outlierGateway(t, func(s *route.Settings) { s.ConnectTimeout = short }, nil, pods...)
			for _, p := range pods {
				p.losesPower()
			}
			seen := 0
			g.eventually("all have failed, time and again", func() error {
				if r := g.get("shop.test", "/"); r.StatusCode != http.StatusServiceUnavailable {
					return fmt.Errorf("status %d", r.StatusCode)
				}
				if got := g.setAside("web"); len(got) >= n {
					t.Fatalf("all %d are set aside", n)
				}
				if seen++; seen < 6 {
					return io.ErrNoProgress
				}
				return nil
			})
			pods[0].regainsPower()
			g.eventually("the one that is back serves", func() error { return want(g.get("shop.test", "/"), http.StatusOK) })
		})
	}
}

// A client that knows a request at which a backend hangs up, or resets the stream,
// cannot set the backend's endpoints aside by it.
func TestAHangUpSetsNoEndpointAside(t *testing.T) {
	pods := []*pod{}
	for range 3 {
		pods = append(pods, newPod(t, hangingUp(newExecutions(), "")))
	}
	g := outlierGateway(t, nil, nil, pods...)
	const bursts, burst = 20, 50
	for range bursts {
		done := make(chan struct{}, burst)
		for range burst {
			go func() {
				g.tryRaw("POST / HTTP/1.1\nHost: shop.test\nContent-Length: 0\n\n") //nolint:errcheck // nothing is answered
				done <- struct{}{}
			}()
		}
		for range burst {
			<-done
		}
		if got := g.setAside("web"); len(got) > 0 {
			t.Fatalf("%v are set aside", got)
		}
	}
}

// No endpoint is ejected if the gateway or the Service switches that off.
func TestOutlierDetectionCanBeSwitchedOff(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(*route.Settings)
		cluster func(*route.Cluster)
	}{
		"by the gateway": {set: func(s *route.Settings) { s.OutlierDetection.Enabled = false }},
		"by the Service": {cluster: func(c *route.Cluster) { c.EndpointsStay = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pods := newPods(t, 2)
			g := outlierGateway(t, c.set, c.cluster, pods...)
			pods[0].losesPower()
			asked := 0
			g.fetchUntil("many have been tried", func() error {
				if got := g.setAside("web"); len(got) > 0 {
					t.Fatalf("%v are set aside", got)
				}
				if asked++; asked < 20 {
					return io.ErrNoProgress
				}
				return nil
			})
		})
	}
}

// A request that was sent over a connection to an endpoint whose power went is
// not left to wait: a safe one is answered by another, any other fails.
func TestARequestUnderWayToAnEndpointWithoutPowerComesToAnEnd(t *testing.T) {
	t.Parallel()
	const longer = 2 * time.Minute // than what xds/envoy calls silence
	for method, status := range map[string]int{"GET": http.StatusOK, "POST": http.StatusServiceUnavailable} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			arrived, dark := make(chan *pod), make(chan struct{})
			pods := make([]*pod, 2)
			for i := range pods {
				pods[i] = newPod(t, func(conn net.Conn) {
					select {
					case arrived <- pods[i]: // the first is never answered
						<-dark
						io.Copy(io.Discard, conn) //nolint:errcheck // until the test ends
					case <-dark:
						answering(newExecutions())(conn)
					}
				})
			}
			s := testSettings(t)
			g := newGateway(t, s, host("shop.test", prefix("/", "web")))
			g.backend(port("web"), pods[0].address(), pods[1].address())
			done := make(chan reply, 1)
			conn, err := net.Dial("tcp", g.address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(longer)) //nolint:errcheck // what follows would fail
			g.knows(pods[0].address(), pods[1].address())
			fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n", method)
			(<-arrived).losesPower()
			close(dark)
			go func() {
				r, _ := readReplyFrom(conn)
				done <- r
			}()
			if r := <-done; r.Response == nil || r.StatusCode != status {
				t.Errorf("%v, want %d", r.Response, status)
			}
		})
	}
}
