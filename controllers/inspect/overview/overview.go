// Package overview shows people what Fairway does in a cluster: its controllers,
// its gateways, the state of each Ingress, the nodes of the pod network, the addresses of load
// balancers and the cluster's DNS.
//
// It reads objects and the Leases of the replicas, and talks to no controller. Its
// invariant: it says that an Ingress is served exactly where the replicas
// themselves would, and its Problems are those of a first pass of their own, and those
// that only a controller can find.
package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/customresources"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Overview is the state of Fairway in a cluster. docs/explain.md documents its
// JSON, which does not change while Version is 1.
type Overview struct {
	Version int `json:"version"`
	// Installations are all that the Leases tell of, if there are several.
	Installations []Installation `json:"installations,omitempty"`
	Controllers   []Controller   `json:"controllers"`
	Gateways      []Gateway      `json:"gateways"`
	Ingresses     []Ingress      `json:"ingresses"` // that are ours
	Others        int            `json:"others"`    // Ingresses that are not
	// Issuers and the certificates that are asked from them.
	Issuers      []Issuer      `json:"issuers,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	// Waiting are the pods of gateways for which no node has room.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Nodes are those of the pod network, the ones with Problems first.
	Nodes []Node `json:"nodes,omitempty"`
	// Pools and Addresses are those of load balancers, the addresses with something wrong first,
	// and Unaddressed the Services that wait for one.
	Pools       []Pool        `json:"pools,omitempty"`
	Addresses   []Address     `json:"addresses,omitempty"`
	Unaddressed []Unaddressed `json:"unaddressed,omitempty"`
	// DNS is the cluster's, if it is Fairway's.
	DNS []DNS `json:"dns,omitempty"`
	// Missing are the kinds and fields of custom resources that this version knows
	// and that the cluster's CustomResourceDefinitions lack.
	Missing []string `json:"missingFields,omitempty"`
	// Unknown lists what could not be read and is therefore missing.
	Unknown []string `json:"unknown,omitempty"`

	Problems []problem.Problem `json:"-"` // the command decides their form

	installations []Installation
}

// Controller is a replica of the controller.
type Controller struct {
	Namespace string `json:"namespace"`
	// Installation is the name of the installation.
	Installation string    `json:"installation"`
	Identity     string    `json:"identity"`
	Leader       bool      `json:"leader"`
	Alive        bool      `json:"alive"`
	Version      string    `json:"version,omitempty"` // empty: not reported
	Renewed      time.Time `json:"renewed"`
	Envoys       int       `json:"envoys"`
	HeldUp       int       `json:"heldUp"`

	serves route.Controller
}

// Gateway is a set of listeners and its Envoys.
type Gateway struct {
	Name string `json:"name"`
	// Controller is spec.controller of its classes; empty: the usual one.
	Controller string   `json:"controller,omitempty"`
	Classes    []string `json:"classes"`
	Hosts      int      `json:"hosts"`
	Envoys     int      `json:"envoys"` // connected
	Synced     int      `json:"synced"` // those that serve what they were sent
	// Versions are the versions of its Envoys, each once.
	Versions []string `json:"versions"`
	// Unproved counts certificates that clients should get but do not.
	Unproved int `json:"unproved,omitempty"`
}

// Ingress is the state of an Ingress.
type Ingress struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Class     string `json:"class,omitempty"`
	Gateway   string `json:"gateway"`
	// Controller is spec.controller of its class; empty: the usual one.
	Controller string   `json:"controller,omitempty"`
	Hosts      []string `json:"hosts"`
	State      State    `json:"state"`
	Why        string   `json:"why,omitempty"`
	Addresses  []string `json:"addresses"`
	Problems   int      `json:"problems"`
}

// State says whether an Ingress is served as it stands.
type State string

// The states of Ingresses.
const (
	Served  State = "Served"  // by every Envoy
	HeldUp  State = "HeldUp"  // some Envoy does not serve its newest version
	Down    State = "Down"    // no Envoy is there to serve it
	Unknown State = "Unknown" // the Leases could not be read
)

// Of makes the overview of the chosen installations of a cluster at a moment.
func Of(ctx context.Context, reader snapshot.Reader, choice Choice, now time.Time) (*Overview, error) {
	routing, err1 := reader.Routing(ctx)
	services, err2 := reader.AllServices(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	o := &Overview{Version: 1, Controllers: []Controller{}, Gateways: []Gateway{}, Ingresses: []Ingress{}}
	all, err := ReplicasOf(ctx, reader, now)
	if err != nil {
		return nil, err
	}
	replicas, served, err := choice.take(all, route.ControllersOf(objectsOf[*networkingv1.IngressClass](routing)))
	if err != nil {
		return nil, err
	}
	if o.installations = replicas.Installations(); len(o.installations) > 1 {
		o.Installations = o.installations
	}
	o.Controllers, o.Unknown = append(o.Controllers, replicas.Controllers...), replicas.Unknown
	if err := o.certificates(ctx, reader, served); err != nil {
		return nil, err
	}
	err = errors.Join(o.waiting(ctx, reader), o.nodes(ctx, reader), o.addresses(ctx, reader, services, now), o.nameServers(ctx, reader, services))
	if err != nil {
		return nil, err
	}
	o.missing(ctx, reader)
	objects, err := folder.Fixed(append(slices.Clone(routing), services...))
	if err != nil {
		return nil, err
	}
	err = snapshot.Take(ctx, objects, index.Scope{}, func(ctx context.Context, controllers *edge.Controllers) error {
		for _, each := range served {
			picture, err := controllers.For(each).FirstPass(ctx)
			if err != nil {
				return err
			}
			its := replicas.Serving(each)
			o.Problems = append(o.Problems, picture.Problems()...)
			o.gateways(picture, each, routing, its)
			o.ingresses(each, routing, its)
		}
		o.Problems = problem.Sort(append(o.Problems, replicas.problems()...))
		return nil
	})
	slices.SortFunc(o.Gateways, func(a, b Gateway) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Controller, b.Controller))
	})
	slices.SortFunc(o.Ingresses, func(a, b Ingress) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	o.Others = len(objectsOf[*networkingv1.Ingress](routing)) - len(o.Ingresses)
	return o, err
}

// missing adds what the cluster lacks of the custom resources.
func (o *Overview) missing(ctx context.Context, reader snapshot.Reader) {
	if reader.CustomResources == nil {
		return
	}
	missing, installed, err := customresources.Look(ctx, reader.CustomResources)
	switch {
	case err != nil:
		o.Unknown = append(o.Unknown, "whether the cluster's custom resources are as new as this version: "+err.Error())
	case installed:
		o.Missing = missing
	}
}

// unusual is the Controller of an installation, empty for the usual one.
func unusual(controller route.Controller) string {
	if controller.Owns(route.ControllerName) {
		return ""
	}
	return controller.String()
}

// gateways adds the gateways of an installation's picture.
func (o *Overview) gateways(picture *edge.Picture, of route.Controller, routing []object, replicas *Replicas) {
	for name := range picture.Settings {
		g := Gateway{Name: string(name), Controller: unusual(of), Classes: []string{}}
		for _, class := range objectsOf[*networkingv1.IngressClass](routing) {
			if its, ours := of.GatewayOf(class); ours && its == name {
				g.Classes = append(g.Classes, class.Name)
			}
		}
		for key := range picture.Hosts {
			if key.Gateway == name {
				g.Hosts++
			}
		}
		g.Envoys, g.Synced = replicas.EnvoysOf(name)
		g.Versions = replicas.versionsOf(name)
		g.Unproved = replicas.UnprovedOf(name)
		if len(g.Classes)+g.Hosts+g.Envoys > 0 {
			o.Gateways = append(o.Gateways, g)
		}
	}
}

// ingresses adds the Ingresses that an installation serves.
func (o *Overview) ingresses(of route.Controller, routing []object, replicas *Replicas) {
	classes := route.NewClasses(objectsOf[*networkingv1.IngressClass](routing), route.ClassOptions{Controller: of})
	for _, ing := range objectsOf[*networkingv1.Ingress](routing) {
		gateway, ours := classes.Gateway(ing)
		if !ours {
			continue
		}
		described := Ingress{
			Namespace: ing.Namespace, Name: ing.Name, Gateway: string(gateway), Controller: unusual(of),
			Hosts: hostsOf(ing), Addresses: addressesOf(ing),
		}
		if ing.Spec.IngressClassName != nil {
			described.Class = *ing.Spec.IngressClassName
		}
		described.State, described.Why = replicas.StateOf(ing, gateway)
		for _, p := range o.Problems {
			if p.Object.Kind == "Ingress" && p.Object.Name.Namespace == ing.Namespace && p.Object.Name.Name == ing.Name {
				described.Problems++
			}
		}
		o.Ingresses = append(o.Ingresses, described)
	}
}

func hostsOf(ing *networkingv1.Ingress) []string {
	hosts := []string{}
	for _, host := range route.HostsOf(ing) {
		hosts = append(hosts, string(host))
	}
	return hosts
}

func addressesOf(ing *networkingv1.Ingress) []string {
	addresses := []string{}
	for _, address := range ing.Status.LoadBalancer.Ingress {
		addresses = append(addresses, fmt.Sprint(address.IP, address.Hostname)) // it is one or the other
	}
	return addresses
}

// Healthy reports whether nothing here needs a person.
func (o *Overview) Healthy() bool {
	if len(o.Problems)+len(o.Missing)+len(o.Waiting) > 0 || o.needsPerson() || !o.led() {
		return false
	}
	if o.wrong() > 0 || o.wantsAddresses() || slices.ContainsFunc(o.DNS, func(d DNS) bool { return len(d.Problems) > 0 }) {
		return false
	}
	if slices.ContainsFunc(o.Gateways, func(g Gateway) bool { return g.Unproved > 0 }) {
		return false
	}
	return !slices.ContainsFunc(o.Ingresses, func(i Ingress) bool { return i.State != Served })
}

// led reports whether each installation, and at least one, has a leader.
func (o *Overview) led() bool {
	for _, i := range o.installations {
		leads := func(c Controller) bool { return c.of() == i && c.Leader && c.Alive }
		if !slices.ContainsFunc(o.Controllers, leads) {
			return false
		}
	}
	return len(o.installations) > 0
}

// Only drops the Ingresses, certificates, addresses and Problems of other namespaces.
func (o *Overview) Only(namespace string) {
	o.Ingresses = slices.DeleteFunc(o.Ingresses, func(i Ingress) bool { return i.Namespace != namespace })
	o.Certificates = slices.DeleteFunc(o.Certificates, func(c Certificate) bool { return c.Namespace != namespace })
	o.onlyAddresses(namespace)
	o.Problems = slices.DeleteFunc(o.Problems, func(p problem.Problem) bool {
		return p.Object.Name.Namespace != namespace && p.Object.Name.Namespace != ""
	})
}
