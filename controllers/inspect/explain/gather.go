package explain

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/xds/route"
)

// Gathered is what a cluster holds that is needed to explain a request.
type Gathered struct {
	Objects []client.Object
	// MissingSecrets were asked for and do not exist. A Secret that is neither
	// here nor among Objects could not be read.
	MissingSecrets map[types.NamespacedName]bool
}

// Gather reads from a cluster what is needed to answer a question. That is all
// that decides the routing, the Services to which requests for the host can go,
// and the Secrets whose certificates its clients may get.
func Gather(ctx context.Context, reader snapshot.Reader, question Question) (Gathered, error) {
	request := question.Request
	objects, err := reader.Routing(ctx)
	if err != nil {
		return Gathered{}, err
	}
	host, _ := route.HostOf(request.Authority)
	server, _, _ := request.serverName()
	// A certificate is looked for under the same names as a host.
	candidates := append(route.HostsFor(host), route.HostsFor(server)...)
	classes := question.classesIn(objects)
	var services, wanted []types.NamespacedName
	for _, object := range objects {
		ing, ok := object.(*networkingv1.Ingress)
		if !ok {
			continue
		}
		if anyOf(route.HostsOf(ing), candidates) {
			services = append(services, route.ServicesOf(ing)...)
		}
		isServed := func(classes route.Classes) bool { _, ours := classes.Gateway(ing); return ours }
		if slices.ContainsFunc(classes, isServed) {
			wanted = append(wanted, route.SecretsByTLSNames(ing, candidates)...)
		}
	}
	found, err := reader.Services(ctx, unique(services))
	if err != nil {
		return Gathered{}, err
	}
	secrets, missing := reader.Secrets(ctx, unique(wanted))
	return Gathered{slices.Concat(objects, found, secrets), missing}, nil
}

// classesIn returns the IngressClasses among objects, as each installation reads them.
func (q Question) classesIn(objects []client.Object) []route.Classes {
	var classes []*networkingv1.IngressClass
	for _, object := range objects {
		if class, ok := object.(*networkingv1.IngressClass); ok {
			classes = append(classes, class)
		}
	}
	var read []route.Classes
	for _, controller := range q.controllers(classes) {
		read = append(read, route.NewClasses(classes, route.ClassOptions{Controller: controller}))
	}
	return read
}

func anyOf(hosts, of []route.Hostname) bool {
	return slices.ContainsFunc(hosts, func(host route.Hostname) bool { return slices.Contains(of, host) })
}

func unique(names []types.NamespacedName) []types.NamespacedName {
	slices.SortFunc(names, func(a, b types.NamespacedName) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	return slices.Compact(names)
}
