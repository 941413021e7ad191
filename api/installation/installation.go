// Package installation names what one installation of Fairway owns in a cluster.
//
// Several installations may share a cluster, and even a namespace. None of them
// takes an object of another: each name here begins with the installation's own, and
// objects that are found by labels carry Label.
package installation

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Name is an installation's name. The zero value is Default.
type Name string

const (
	// Default is the name of the installation that was given none.
	Default Name = "fairway"
	// Label is on the objects of every installation but Default, with its name. An
	// object without Label is of Default.
	Label = "fairway.dev/installation"

	// maxLength leaves room for what follows in a name of at most 63 letters, such as
	// that of a Service.
	maxLength = 40
)

// Validate returns why n cannot be the name of an installation.
func (n Name) Validate() error {
	if len(n) > maxLength {
		return fmt.Errorf("%q has %d letters, and can have %d", string(n), len(n), maxLength)
	}
	if len(validation.IsDNS1123Label(string(n))) > 0 {
		return fmt.Errorf("%q is no name of an installation: it must be lower-case letters, digits and '-', "+
			"and begin and end with a letter or digit", string(n))
	}
	return nil
}

// String returns the name.
func (n Name) String() string {
	if n == "" {
		return string(Default)
	}
	return string(n)
}

// Object returns the name of an object of the installation: "fairway-ca" for "ca".
func (n Name) Object(rest string) string { return n.String() + "-" + rest }

// Controller is the name of the leader's Lease and of the controllers' Service:
// "fairway-controller".
func (n Name) Controller() string { return n.Object("controller") }

// Managers are the field managers of server-side apply by which an installation
// writes statuses.
type Managers struct {
	Addresses  string // of Ingresses
	Conditions string // of Issuers and of the configurations of gateways
}

// Managers returns the field managers of an installation whose controllers are in a
// namespace. Each installation has its own, so that none takes what another has
// written for its own. usual says that it serves the usual IngressClasses, and is then
// the only Default.
func (n Name) Managers(namespace string, usual bool) Managers {
	if usual && n.String() == string(Default) {
		return Managers{Addresses: n.String(), Conditions: n.Controller()}
	}
	own := n.Controller() + "." + namespace
	return Managers{Addresses: own, Conditions: own}
}

// Labels returns all, with Label if the installation is not Default.
func (n Name) Labels(all map[string]string) map[string]string {
	if n.String() == string(Default) {
		return all
	}
	labelled := map[string]string{Label: n.String()}
	maps.Copy(labelled, all)
	return labelled
}

// Of returns the installation that an object with these labels belongs to.
func Of(all map[string]string) Name {
	if name := all[Label]; name != "" {
		return Name(name)
	}
	return Default
}

// Owns reports whether an object with these labels belongs to the installation.
func (n Name) Owns(all map[string]string) bool { return Of(all).String() == n.String() }

// Selector is the label selector of the installation's objects, as text.
func (n Name) Selector() string {
	if n.String() == string(Default) {
		return "!" + Label
	}
	return Label + "=" + n.String()
}
