package service

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Claims are who wants which front of the node. Of several Services that want one, the oldest
// has it. Otherwise one could take what is another's, or let in whom the other keeps out.
type Claims struct {
	services map[types.NamespacedName]*Service
	fronts   map[FrontKey][]types.NamespacedName // the first has it
}

// NewClaims returns claims of nobody.
func NewClaims() *Claims {
	return &Claims{map[types.NamespacedName]*Service{}, map[FrontKey][]types.NamespacedName{}}
}

// Set says what a Service wants from now on; nil: nothing. It returns the names of the
// Services that get something else than before by that, the Service itself always.
func (c *Claims) Set(name types.NamespacedName, s *Service) []types.NamespacedName {
	changed := map[types.NamespacedName]bool{name: true}
	before := c.services[name]
	if s == nil {
		delete(c.services, name)
	} else {
		c.services[name] = s
	}
	for _, key := range before.keys() {
		rest := slices.DeleteFunc(c.fronts[key], func(n types.NamespacedName) bool { return n == name })
		if len(rest) == 0 {
			delete(c.fronts, key)
			continue
		}
		c.fronts[key] = rest
		changed[rest[0]] = true
	}
	for _, key := range s.keys() {
		all := append(c.fronts[key], name)
		slices.SortFunc(all, func(a, b types.NamespacedName) int { return c.services[a].older(c.services[b]) })
		c.fronts[key] = slices.Compact(all)
		if len(all) > 1 {
			for _, other := range all {
				changed[other] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(changed), func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) })
}

func (s *Service) older(other *Service) int {
	return cmp.Or(s.Created.Compare(other.Created), cmp.Compare(s.Name.String(), other.Name.String()))
}

func (s *Service) keys() []FrontKey {
	var all []FrontKey
	if s != nil {
		for _, p := range s.Ports {
			for _, f := range p.Fronts {
				all = append(all, p.key(f))
			}
		}
	}
	return all
}

// Wanted returns what each Service wants.
func (c *Claims) Wanted() map[types.NamespacedName]*Service { return maps.Clone(c.services) }

// NodePorts returns which Service has each NodePort.
func (c *Claims) NodePorts() map[FrontKey]types.NamespacedName {
	all := map[FrontKey]types.NamespacedName{}
	for key, names := range c.fronts {
		if !key.Address.IsValid() {
			all[key] = names[0]
		}
	}
	return all
}

// Get returns what a Service has, nil if there is none, and who has what it wants and
// lacks.
func (c *Claims) Get(name types.NamespacedName) (*Service, map[FrontKey]types.NamespacedName) {
	s := c.services[name]
	var lacks map[FrontKey]types.NamespacedName
	for _, key := range s.keys() {
		if holder := c.fronts[key][0]; holder != name {
			if lacks == nil {
				lacks = map[FrontKey]types.NamespacedName{}
			}
			lacks[key] = holder
		}
	}
	if lacks == nil {
		return s, nil
	}
	own := *s
	own.Ports = slices.Clone(s.Ports)
	for i, p := range own.Ports {
		own.Ports[i].Fronts = slices.DeleteFunc(slices.Clone(p.Fronts), func(f Front) bool {
			_, lost := lacks[p.key(f)]
			return lost
		})
	}
	return &own, lacks
}
