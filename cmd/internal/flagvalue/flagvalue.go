// Package flagvalue has the types of flags that pflag lacks: sizes in the notation of
// Kubernetes, ports, and names of objects.
//
// Each is a pflag.Value. Its invariant: a text that Set accepts is a valid value.
package flagvalue

import (
	"errors"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Bytes is a flag for a number of bytes in Kubernetes notation: 512Ki, 10M.
type Bytes int64

// String is the value in its shortest notation.
func (b *Bytes) String() string {
	return resource.NewQuantity(int64(*b), resource.BinarySI).String()
}

// Set implements pflag.Value.
func (b *Bytes) Set(value string) error {
	quantity, err := resource.ParseQuantity(value)
	if err != nil {
		return errors.New("must be a size such as 512Ki or 10Mi")
	}
	*b = Bytes(quantity.Value())
	return nil
}

// Type implements pflag.Value.
func (b *Bytes) Type() string { return "size" }

// Port is a flag for a TCP port to listen on.
type Port uint16

// String is the number.
func (p *Port) String() string { return strconv.Itoa(int(*p)) }

// Set implements pflag.Value.
func (p *Port) Set(value string) error {
	number, err := strconv.ParseUint(value, 10, 16)
	if err != nil || number == 0 {
		return errors.New("must be a port, from 1 to 65535")
	}
	*p = Port(number)
	return nil
}

// Type implements pflag.Value.
func (p *Port) Type() string { return "port" }

// Name is a flag for the namespace and name of a Secret.
type Name types.NamespacedName

// String is "namespace/name", empty for none.
func (n *Name) String() string {
	if *n == (Name{}) {
		return ""
	}
	return types.NamespacedName(*n).String()
}

// Set implements pflag.Value.
func (n *Name) Set(value string) error {
	namespace, name, found := strings.Cut(value, "/")
	if !found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return errors.New("must be namespace/name of a Secret")
	}
	*n = Name{Namespace: namespace, Name: name}
	return nil
}

// Type implements pflag.Value.
func (*Name) Type() string { return "namespace/name" }

// OptionalPort is a flag for a TCP port; 0 means none.
type OptionalPort uint16

// String is the number.
func (p *OptionalPort) String() string { return strconv.Itoa(int(*p)) }

// Set implements pflag.Value.
func (p *OptionalPort) Set(value string) error {
	number, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return errors.New("must be a port, from 1 to 65535, or 0 for none")
	}
	*p = OptionalPort(number)
	return nil
}

// Type implements pflag.Value.
func (p *OptionalPort) Type() string { return "port" }
