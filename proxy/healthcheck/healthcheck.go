// Package healthcheck tells load balancers whether a node has endpoints of a Service, at the
// Service's healthCheckNodePort.
//
// The answer is that of kube-proxy, so that load balancers of all clouds understand it: 200 if
// there are endpoints, else 503, and their number as JSON and in a header.
package healthcheck

import (
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
	// says that it now can.
	Failed func(name types.NamespacedName, err error)

	mu       sync.Mutex
	services map[types.NamespacedName]*listener
	waiting  map[types.NamespacedName]service.Health // for a port that another program has
}

// listener answers for one Service.
type listener struct {
	server *Server
	name   types.NamespacedName
	port   uint16
	http   *http.Server

	mu    sync.Mutex
	local int
}

// Set says what a Service's health is from now on; the zero value: nobody asks.
func (s *Server) Set(name types.NamespacedName, health service.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(name, health)
}

func (s *Server) set(name types.NamespacedName, health service.Health) {
	has := s.services[name]
	if has != nil && has.port != health.Port {
		has.close()
		delete(s.services, name)
		has = nil
	}
	_, waited := s.waiting[name]
	delete(s.waiting, name)
	if health.Port == 0 {
		if waited {
			s.failed(name, nil)
		}
		return
	}
	if has == nil {
		has = &listener{server: s, name: name, port: health.Port}
		err := has.listen()
		if err != nil || waited {
			s.failed(name, err)
		}
		if err != nil {
			s.wait(name, health)
			return
		}
		if s.services == nil {
			s.services = map[types.NamespacedName]*listener{}
		}
		s.services[name] = has
	}
	has.set(health.Local)
}

func (s *Server) failed(name types.NamespacedName, err error) {
	if s.Failed != nil {
		s.Failed(name, err)
	}
}

// again is how long a port of another program is left alone: kube-proxy, which has the same
// ports, may be about to end.
const again = 3 * time.Second

// wait tries again, unless the Service's health is told anew before.
func (s *Server) wait(name types.NamespacedName, health service.Health) {
	if s.waiting == nil {
		s.waiting = map[types.NamespacedName]service.Health{}
	}
	s.waiting[name] = health
	time.AfterFunc(again, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[name] == health {
			s.set(name, health)
		}
	})
}

// Close ends all answers.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.services {
		l.close()
	}
	clear(s.services)
	clear(s.waiting)
}

func (l *listener) listen() error {
	at := net.JoinHostPort("", strconv.Itoa(int(l.port)))
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", at)
	if err != nil {
		return fmt.Errorf("answer load balancers: %w", err)
	}
	l.http = server(l)
	go func() {
		if err := l.http.Serve(socket); !errors.Is(err, http.ErrServerClosed) && l.server.Failed != nil {
			l.server.Failed(l.name, err)
		}
	}()
	return nil
}

// server is an HTTP server for what strangers ask.
func server(handler http.Handler) *http.Server {
	const header = 4 << 10
	return &http.Server{Handler: handler, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience, MaxHeaderBytes: header}
}

func (l *listener) close() { _ = l.http.Close() }

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
