package envoy_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
)

// ads sends the rendered bytes unchanged to a real Envoy. It ignores order and
// acknowledgements: these tests check what is sent, not when.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	mu        sync.Mutex
	resources map[string]map[string]envoy.Resource // by type and name
	refused   []string                             // what Envoy said of resources that it did not take
	streams   map[*stream]bool
}

// stream is one Envoy's.
type stream struct {
	out        chan *discoveryv3.DeltaDiscoveryResponse
	subscribed map[string]map[string]bool // by type and name; "*" is all
	nonce      int
}

func newADS() *ads {
	return &ads{
		resources: make(map[string]map[string]envoy.Resource),
		streams:   make(map[*stream]bool),
	}
}

// publish adds or replaces resources, and withdraws those without a body.
func (a *ads) publish(resources ...envoy.Resource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed := make(map[string][]string)
	for _, r := range resources {
		if a.resources[r.Type] == nil {
			a.resources[r.Type] = make(map[string]envoy.Resource)
		}
		a.resources[r.Type][r.Name] = r
		if r.Body == nil {
			delete(a.resources[r.Type], r.Name)
		}
		changed[r.Type] = append(changed[r.Type], r.Name)
	}
	for s := range a.streams {
		for typeURL, names := range changed {
			names = slices.DeleteFunc(names, func(name string) bool { return !s.wants(typeURL, name) })
			if len(names) > 0 {
				a.send(s, typeURL, names)
			}
		}
	}
}

func (s *stream) wants(typeURL, name string) bool {
	return s.subscribed[typeURL][name] || s.subscribed[typeURL]["*"]
}

func (a *ads) send(s *stream, typeURL string, names []string) {
	s.nonce++
	response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: fmt.Sprint(s.nonce)}
	for _, name := range names {
		r, ok := a.resources[typeURL][name]
		if !ok {
			response.RemovedResources = append(response.RemovedResources, name)
			continue
		}
		response.Resources = append(response.Resources, &discoveryv3.Resource{
			Name:     name,
			Version:  fmt.Sprint(s.nonce),
			Resource: &anypb.Any{TypeUrl: typeURL, Value: r.Body},
		})
	}
	s.out <- response
}

func (a *ads) DeltaAggregatedResources(conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := &stream{
		out:        make(chan *discoveryv3.DeltaDiscoveryResponse, 1<<16),
		subscribed: make(map[string]map[string]bool),
	}
	a.mu.Lock()
	a.streams[s] = true
	a.mu.Unlock()
	written := make(chan error, 1)
	go func() {
		for response := range s.out {
			if err := conn.Send(response); err != nil {
				break
			}
		}
		written <- nil
	}()
	for {
		request, err := conn.Recv()
		if err != nil {
			break
		}
		a.receive(s, request)
	}
	a.mu.Lock()
	delete(a.streams, s)
	close(s.out)
	a.mu.Unlock()
	return <-written
}

func (a *ads) receive(s *stream, request *discoveryv3.DeltaDiscoveryRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if request.GetErrorDetail() != nil {
		a.refused = append(a.refused, request.GetErrorDetail().GetMessage())
	}
	subscribe := request.GetResourceNamesSubscribe()
	if s.subscribed[request.GetTypeUrl()] == nil {
		s.subscribed[request.GetTypeUrl()] = make(map[string]bool)
		if len(subscribe) == 0 {
			subscribe = []string{"*"}
		}
	}
	var names []string
	for _, name := range subscribe {
		s.subscribed[request.GetTypeUrl()][name] = true
		if name == "*" {
			names = append(names, slices.Sorted(maps.Keys(a.resources[request.GetTypeUrl()]))...)
			continue
		}
		names = append(names, name)
	}
	for _, name := range request.GetResourceNamesUnsubscribe() {
		s.subscribed[request.GetTypeUrl()][name] = false
	}
	if len(subscribe) > 0 {
		a.send(s, request.GetTypeUrl(), names)
	}
}

// refusals are what Envoy said of resources that it did not take.
func (a *ads) refusals() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.refused)
}

// asked reports whether an Envoy has ever asked for a resource.
func (a *ads) asked(typeURL, name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.streams {
		if _, ever := s.subscribed[typeURL][name]; ever {
			return true
		}
	}
	return false
}
