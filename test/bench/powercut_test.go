package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/power"
)

const (
	powerRate   = 200 // requests a second
	powerBefore = 5   // seconds until the power goes
	powerAfter  = 30  // seconds from then on, in which the cluster does not notice
)

// BenchmarkPowerCut measures how long requests take, second by second, when a
// node loses its power and the cluster goes on counting its pod among the
// endpoints: with endpoints that are set aside, and without.
func BenchmarkPowerCut(b *testing.B) {
	for _, flags := range [][]string{{"--outlier-detection=false", "--connect-timeout=2s"}, nil} {
		for _, pods := range []int{2, 3, 10} {
			b.Run(fmt.Sprintf("pods=%d%v", pods, flags), func(b *testing.B) {
				for b.Loop() {
					powerCut(b, pods, flags)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func powerCut(b *testing.B, n int, flags []string) {
	var all []*machine
	fairway.Start(b, fairway.Options{Flags: flags, Before: func(r *fairway.Installation) {
		var ips []string
		for range n {
			ips = append(ips, r.Address())
			all = append(all, newMachine(b, ips[len(ips)-1]))
		}
		kind := networkingv1.PathTypePrefix
		ingress := &networkingv1.Ingress{}
		ingress.Namespace, ingress.Name = fairway.Namespace, "shop"
		ingress.Spec.IngressClassName = new(class)
		ingress.Spec.Rules = []networkingv1.IngressRule{{Host: "shop.test", IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: "shop", Port: networkingv1.ServiceBackendPort{Number: 80},
				}},
			}}},
		}}}
		r.Create(b, fairway.Class(class), fairway.Service("shop"), fairway.Slice("shop", ips...), ingress)
	}})
	seconds := make([]moment, powerBefore+powerAfter)
	var running sync.WaitGroup
	began := time.Now()
	tick := time.NewTicker(time.Second / powerRate)
	defer tick.Stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: powerRate}}
	defer client.CloseIdleConnections()
	cut := false
	for sent := 0; ; sent++ {
		now := <-tick.C
		at := int(now.Sub(began).Seconds())
		if at >= len(seconds) {
			break
		}
		if at >= powerBefore && !cut {
			cut = true
			all[0].cut()
		}
		running.Go(func() { seconds[at].add(get(client)) })
	}
	running.Wait()
	table(b, seconds)
}

// moment is what became of the requests that began in one second.
type moment struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
}

func (s *moment) add(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
	if err != nil {
		s.failed++
	}
}

func (s *moment) quantile(q float64) time.Duration {
	slices.Sort(s.took)
	return s.took[min(int(q*float64(len(s.took))), len(s.took)-1)]
}

// table prints the seconds around the cut, and those from then on in which
// requests were not as fast as before.
func table(b *testing.B, seconds []moment) {
	var before []time.Duration
	for i := range powerBefore {
		before = append(before, seconds[i].quantile(0.99))
	}
	slices.Sort(before)
	idle, all := before[powerBefore/2], 0
	fmt.Printf("\n%s: p99 before the cut %s\n\n| second | p50, ms | p99, ms | slowest, ms | failed |\n|---|---|---|---|---|\n", b.Name(), idle)
	for i := range seconds {
		s := &seconds[i]
		all += s.failed
		if i < powerBefore-1 || i > powerBefore+3 && s.quantile(0.99) <= 2*idle && s.failed == 0 {
			continue
		}
		fmt.Printf("| %d | %.1f | %.1f | %.1f | %d |\n", i-powerBefore,
			milliseconds(s.quantile(0.5)), milliseconds(s.quantile(0.99)), milliseconds(s.quantile(1)), s.failed)
	}
	b.ReportMetric(float64(all), "failed")
}

func get(client *http.Client) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gatewayAddress+"/", nil)
	if err != nil {
		return 0, err
	}
	request.Host = "shop.test"
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return time.Since(began), err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return time.Since(began), err
}

// machine is a node with one pod, whose power can be cut.
type machine struct {
	listener net.Listener

	mu    sync.Mutex
	conns []syscall.Conn
}

func newMachine(b *testing.B, ip string) *machine {
	b.Helper()
	listener, err := power.Listen(net.JoinHostPort(ip, strconv.Itoa(fairway.BackendPort)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	m := &machine{listener: listener, conns: []syscall.Conn{listener.(syscall.Conn)}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.conns = append(m.conns, conn.(syscall.Conn))
			m.mu.Unlock()
			go answer200(conn)
		}
	}()
	return m
}

// answer200 takes as long for an answer as a quick backend does.
func answer200(conn net.Conn) {
	defer conn.Close()
	from := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(from); err != nil {
			return
		}
		<-time.After(5 * time.Millisecond)
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

func (m *machine) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, socket := range m.conns {
		_ = power.Cut(socket) // those that are closed do not matter
	}
}
