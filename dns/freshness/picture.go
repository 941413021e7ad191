package freshness

import (
	"strconv"

	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/kubernetes/object"
)

// The resources that names are made of.
const (
	services       = "services"
	endpointSlices = "endpointslices"
	namespaces     = "namespaces"
)

// object names an object of a resource.
type name struct{ namespace, name string }

// versions are the versions of all objects of a resource.
type versions map[name]string

// picture is what the plugin kubernetes holds.
type picture interface {
	synced
	// Versions are those of all objects of a resource. Of Namespaces it knows only whether
	// it has those that are asked for; their version is "".
	Versions(resource string, asked versions) versions
	// Changed is when it last heard of a change, in seconds since 1970.
	Changed() int64
}

// connection is what is used of CoreDNS's connection to the cluster.
type connection interface {
	synced
	ServiceList() []*object.Service
	EndpointsList() []*object.Endpoints
	GetNamespaceByName(name string) (*object.Namespace, error)
	Modified(mode kubernetes.ModifiedMode) int64
}

type cached struct{ connection }

func pictureOf(c connection) picture { return cached{c} }

func (c cached) Changed() int64 { return c.Modified(kubernetes.ModifiedInternal) }

func (c cached) Versions(resource string, asked versions) versions {
	all := versions{}
	switch resource {
	case services:
		for _, one := range c.ServiceList() {
			all[name{one.Namespace, one.Name}] = one.Version
		}
	case endpointSlices:
		for _, one := range c.EndpointsList() {
			all[name{one.Namespace, one.Name}] = one.Version
		}
	case namespaces:
		for one := range asked {
			if found, err := c.GetNamespaceByName(one.name); err == nil && found != nil {
				all[one] = ""
			}
		}
	}
	return all
}

// newest is the highest version. A version is a number, as Kubernetes promises since 1.35.
func (v versions) newest() uint64 {
	var newest uint64
	for _, text := range v {
		newest = max(newest, number(text))
	}
	return newest
}

func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// behind are the objects whose state the cache has missed: at the time of before they differed from
// those of the server, and since then nothing came for them.
func behind(server, before, after versions) []name {
	var missed []name
	for one, wanted := range server {
		had, known := before[one]
		has, still := after[one]
		if had == wanted && known {
			continue
		}
		if known == still && had == has && (!known || number(had) < number(wanted)) {
			missed = append(missed, one)
		}
	}
	for one, had := range before {
		if _, exists := server[one]; exists {
			continue
		}
		if has, still := after[one]; still && has == had {
			missed = append(missed, one) // it is gone, and the cache has not heard
		}
	}
	return missed
}
