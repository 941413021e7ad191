package overview

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/xds/route"
)

// Installation is one of several installations of Fairway in a cluster, as the Leases
// of its controllers tell of it.
type Installation struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Controller is spec.controller of the IngressClasses that it serves.
	Controller string `json:"controller"`
}

// String returns "namespace/name".
func (i Installation) String() string { return i.Namespace + "/" + i.Name }

// is reports whether the name that a person gave, NAME or NAMESPACE/NAME, is i's.
func (i Installation) is(given string) bool { return given == i.Name || given == i.String() }

func (c Controller) of() Installation {
	return Installation{Namespace: c.Namespace, Name: c.Installation, Controller: c.serves.String()}
}

// Installations returns the installations that the Leases tell of, in order.
func (r *Replicas) Installations() []Installation {
	var all []Installation
	for _, c := range r.Controllers {
		if !slices.Contains(all, c.of()) {
			all = append(all, c.of())
		}
	}
	slices.SortFunc(all, func(a, b Installation) int {
		return strings.Compare(a.String()+" "+a.Controller, b.String()+" "+b.Controller)
	})
	return all
}

// where returns the replicas of the installations that are chosen.
func (r *Replicas) where(chosen func(Installation) bool) *Replicas {
	some := &Replicas{Unknown: r.Unknown, known: r.known}
	for _, c := range r.Controllers {
		if chosen(c.of()) {
			some.Controllers = append(some.Controllers, c)
		}
	}
	for _, report := range r.alive {
		if chosen(report.of) {
			some.alive = append(some.alive, report)
		}
	}
	return some
}

// Serving returns the replicas of the installations that serve a Controller.
func (r *Replicas) Serving(controller route.Controller) *Replicas {
	return r.where(func(i Installation) bool { return controller.Owns(i.Controller) })
}

// Served returns the Controllers that the installations serve.
func (r *Replicas) Served() []route.Controller {
	var all []route.Controller
	for _, i := range r.Installations() {
		if value := route.Controller(i.Controller); !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all
}

// Choice says which installations of a cluster a person asks about. The zero value is
// all.
type Choice struct {
	// Controller, if not empty, is spec.controller of their IngressClasses.
	Controller route.Controller
	// Installation, if not empty, is the NAME or NAMESPACE/NAME of the only one.
	Installation string
}

// take returns the replicas of the chosen installations, and the Controllers to look
// for: those that they serve, and without a choice also those that classes tell of.
func (c Choice) take(all *Replicas, told []route.Controller) (*Replicas, []route.Controller, error) {
	switch {
	case c.Installation != "":
		one, err := c.one(all.Installations())
		if err != nil {
			return nil, nil, err
		}
		return all.where(func(i Installation) bool { return i == one }), []route.Controller{route.Controller(one.Controller)}, nil
	case c.Controller != "":
		return all.Serving(c.Controller), []route.Controller{c.Controller}, nil
	}
	for _, value := range all.Served() {
		if !slices.Contains(told, value) {
			told = append(told, value)
		}
	}
	return all, told, nil
}

func (c Choice) one(all []Installation) (Installation, error) {
	var found []Installation
	var names []string
	for _, i := range all {
		names = append(names, i.String())
		if i.is(c.Installation) && (c.Controller == "" || c.Controller.Owns(i.Controller)) {
			found = append(found, i)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Installation{}, fmt.Errorf("there are several installations %q: say NAMESPACE/NAME, and if need be the value in spec.controller; there are %s",
			c.Installation, strings.Join(names, ", "))
	case len(all) == 0:
		return Installation{}, fmt.Errorf("no controller runs, of installation %q or another", c.Installation)
	}
	return Installation{}, fmt.Errorf("there is no installation %q; there are %s", c.Installation, strings.Join(names, ", "))
}
