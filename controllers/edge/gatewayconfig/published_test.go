package gatewayconfig

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/workqueue"

	"github.com/fairwaynet/fairway/xds/route"
)

// serviceOf leads from a port to what listens on 8080.
func serviceOf(port int32) *corev1.Service {
	service := &corev1.Service{}
	service.Spec.Ports = []corev1.ServicePort{{Port: port, TargetPort: intstr.FromInt32(8080)}}
	return service
}

// A gateway has the ports of its own Service, or else those of the Service of all.
// A change wakes the gateways that it concerns.
func TestAGatewayHasThePortsOfItsService(t *testing.T) {
	s := newStage(t)
	s.set("1", specOf(8080, 8443))
	services := NewPublishedServices(logr.Discard(), []route.Gateway{Everyone})
	s.r.Published = services
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[route.Gateway]())
	defer queue.ShutDown()
	if err := services.Source(s.r.Keys).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name    string
		gateway route.Gateway
		service *corev1.Service
		wakes   []route.Gateway
		want    uint16 // 0: not known
	}{
		{"the Service of all is not there", Everyone, nil, []route.Gateway{route.DefaultGateway, inner, nowhere}, 0},
		{"it is", Everyone, serviceOf(80), []route.Gateway{route.DefaultGateway, inner, nowhere}, 80},
		{"nothing new", Everyone, serviceOf(80), nil, 80},
		{"it has another port", Everyone, serviceOf(81), []route.Gateway{route.DefaultGateway, inner, nowhere}, 81},
		{"one of its own", inner, serviceOf(8000), []route.Gateway{inner}, 8000},
		{"it is gone", inner, nil, []route.Gateway{inner}, 0},
	} {
		services.Set(step.gateway, step.service)
		if got := drained(queue); !sameGateways(got, step.wakes) {
			t.Errorf("%s: %v are woken, want %v", step.name, got, step.wakes)
		}
		s.reconciled()
		if got := s.wall[inner].Published.HTTP; got != step.want {
			t.Errorf("%s: HTTP is published at %d, want %d", step.name, got, step.want)
		}
	}
}

// drained is what the queue holds.
func drained(queue workqueue.TypedRateLimitingInterface[route.Gateway]) map[route.Gateway]bool {
	found := map[route.Gateway]bool{}
	for queue.Len() > 0 {
		gateway, _ := queue.Get()
		found[gateway] = true
		queue.Done(gateway)
	}
	return found
}

func sameGateways(got map[route.Gateway]bool, want []route.Gateway) bool {
	for _, gateway := range want {
		if !got[gateway] {
			return false
		}
	}
	return len(got) == len(want)
}

// The first picture waits until each Service is heard of, once, and not for ever.
func TestPublishedServicesAreWaitedFor(t *testing.T) {
	const long = time.Minute
	(*PublishedServices)(nil).Wait(t.Context(), long)
	NewPublishedServices(logr.Discard(), nil).Wait(t.Context(), long)
	services := NewPublishedServices(logr.Discard(), []route.Gateway{Everyone, inner})
	services.Wait(t.Context(), time.Nanosecond) // Set was not called yet
	waited := make(chan struct{})
	go func() {
		services.Wait(t.Context(), long)
		close(waited)
	}()
	services.Set(inner, nil)
	select {
	case <-waited:
		t.Error("it waits for one of two")
	default:
	}
	services.Set(Everyone, serviceOf(80))
	receive(t, waited)
	services.Set(Everyone, serviceOf(80))
}
