// Package healthcheck tells load balancers whether a node has endpoints of a Service, at the
// Service's healthCheckNodePort.
//
// The answer is that of kube-proxy, so that load balancers of all clouds understand it: 200 if
// there are endpoints, else 503, and their number as JSON and in a header.
package healthcheck

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/service"
)

// patience is how long a load balancer may take.
const patience = 5 * time.Second

// Server answers for Services. Its methods may be called concurrently. The zero value answers
// for none.
type Server struct {
	// Healthy says whether what the kernel has is what Services are; nil: always.
	Healthy func() bool
	// Failed hears that a port cannot be listened at: another program has it. A nil error
	// says that this is over.
	Failed func(name types.NamespacedName, err error)
	// Pause is how long a port rests that another program has; zero: three seconds. kube-proxy,
	// which has the same ports, may be about to end.
	Pause time.Duration

	mu       sync.Mutex
	services map[types.NamespacedName]*listener
	waiting  map[types.NamespacedName]*listener // those of services that do not listen yet
	retry    *time.Timer                        // for them
}

// listener answers for one Service.
type listener struct {
	server *Server
	name   types.NamespacedName
	port   uint16
	http   *http.Server
	socket net.Listener
	ended  chan struct{}

	mu    sync.Mutex
	local int
}

// Set says what a Service's health is from now on; the zero value: nobody asks.
func (s *Server) Set(name types.NamespacedName, health service.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.services[name]
	if has != nil && has.port != health.Port {
		s.end(has)
		s.again() // another may wait for the port
		has = nil
	}
	if health.Port == 0 {
		return
	}
	if has != nil {
		has.set(health.Local)
		return
	}
	if s.services == nil {
		s.services, s.waiting = map[types.NamespacedName]*listener{}, map[types.NamespacedName]*listener{}
	}
	made := &listener{server: s, name: name, port: health.Port, local: health.Local}
	s.services[name] = made
	s.begin(made)
}

// begin begins the answers for a Service, or waits for its port.
func (s *Server) begin(l *listener) {
	_, waited := s.waiting[l.name]
	err := l.listen()
	if err != nil || waited {
		s.failed(l.name, err)
	}
	if err == nil {
		delete(s.waiting, l.name)
		return
	}
	s.waiting[l.name] = l
	if s.retry == nil {
		s.retry = time.AfterFunc(s.pause(), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.again()
		})
		return
	}
	s.retry.Reset(s.pause())
}

// again tries those that wait.
func (s *Server) again() {
	for _, l := range s.waiting {
		s.begin(l)
	}
}

// end ends the answers for a Service.
func (s *Server) end(l *listener) {
	delete(s.services, l.name)
	if _, waits := s.waiting[l.name]; waits {
		delete(s.waiting, l.name)
		s.failed(l.name, nil)
		return
	}
	l.close()
}

func (s *Server) pause() time.Duration {
	const usual = 3 * time.Second
	return cmp.Or(s.Pause, usual)
}

func (s *Server) failed(name types.NamespacedName, err error) {
	if s.Failed != nil {
		s.Failed(name, err)
	}
}

// Close ends all answers.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retry != nil {
		s.retry.Stop()
	}
	for _, l := range s.services {
		s.end(l)
	}
}

func (l *listener) listen() error {
	at := net.JoinHostPort("", strconv.Itoa(int(l.port)))
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", at)
	if err != nil {
		return fmt.Errorf("answer load balancers: %w", err)
	}
	l.http, l.socket, l.ended = server(l), socket, make(chan struct{})
	go func() {
		defer close(l.ended)
		if err := l.http.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			l.server.failed(l.name, err)
		}
	}()
	return nil
}

// server is an HTTP server for what strangers ask.
func server(handler http.Handler) *http.Server {
	const header = 4 << 10
	return &http.Server{Handler: handler, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience, MaxHeaderBytes: header}
}

// close frees the port: when it returns, another can listen.
func (l *listener) close() {
	_ = l.http.Close()
	_ = l.socket.Close() // the server does not know it if it has only begun
	<-l.ended
}

func (l *listener) set(local int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.local = local
}

// answer is what kube-proxy answers.
type answer struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

// ServeHTTP implements http.Handler.
func (l *listener) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	a := answer{LocalEndpoints: l.local, ServiceProxyHealthy: l.server.Healthy == nil || l.server.Healthy()}
	l.mu.Unlock()
	a.Service.Namespace, a.Service.Name = l.name.Namespace, l.name.Name
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(a.LocalEndpoints))
	if a.LocalEndpoints == 0 || !a.ServiceProxyHealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(a); err != nil {
		return // the load balancer has gone
	}
}
