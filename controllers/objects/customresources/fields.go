// Package customresources finds out whether the CustomResourceDefinitions of a cluster
// are as new as this program.
//
// They are old where somebody upgrades the program alone, such as a second release that
// leaves them to the first. The API server then drops the fields that it does not know
// from what people apply. The package compares what the API
// server publishes with the manifests of this version (config/crd). It changes nothing,
// and it needs no right: every account may read what is published.
package customresources

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/config/crd"
)

// Fields are the paths of all fields of each kind, such as "spec.dns.rfc2136.server",
// and the kind itself as the path "".
type Fields map[string][]string

// property is the part of an OpenAPI schema that names fields.
type property struct {
	Properties map[string]property `json:"properties"`
	Items      *property           `json:"items"`
}

// paths adds the paths of the fields below p.
func (p property) paths(to []string, below string) []string {
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		path := strings.TrimPrefix(below+"."+name, ".")
		to = p.Properties[name].paths(append(to, path), path)
	}
	if p.Items != nil {
		to = p.Items.paths(to, below+"[]")
	}
	return to
}

// fields returns the paths of a kind. Those of metadata are Kubernetes' own.
func (p property) fields() []string {
	ours := property{Properties: map[string]property{}}
	for _, name := range []string{"spec", "status"} {
		if its, has := p.Properties[name]; has {
			ours.Properties[name] = its
		}
	}
	return ours.paths([]string{""}, "")
}

// Known returns the fields that this version knows.
func Known() (Fields, error) {
	manifests, err := crd.Manifests()
	if err != nil {
		return nil, err
	}
	known := Fields{}
	for _, manifest := range manifests {
		var definition struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						Root property `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(manifest, &definition); err != nil {
			return nil, fmt.Errorf("read the manifest of a custom resource: %w", err)
		}
		for _, version := range definition.Spec.Versions {
			if version.Name == v1alpha1.SchemeGroupVersion().Version {
				known[definition.Spec.Names.Kind] = version.Schema.Root.fields()
			}
		}
	}
	return known, nil
}

// Published reads the OpenAPI v3 document that an API server publishes of the group and
// version of our custom resources.
func Published(document []byte) (Fields, error) {
	var published struct {
		Components struct {
			Schemas map[string]struct {
				property

				Kinds []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
			}
		}
	}
	if err := json.Unmarshal(document, &published); err != nil {
		return nil, fmt.Errorf("read what the API server publishes of custom resources: %w", err)
	}
	ours := v1alpha1.SchemeGroupVersion()
	found := Fields{}
	for _, schema := range published.Components.Schemas {
		for _, of := range schema.Kinds {
			if of.Group == ours.Group && of.Version == ours.Version && !strings.HasSuffix(of.Kind, "List") {
				found[of.Kind] = schema.fields()
			}
		}
	}
	return found, nil
}

// Missing returns what a cluster lacks of the known fields, in order: "kind Issuer", or
// "spec.dns of Issuer". It does not name what is below a field that is missing.
func Missing(known, published Fields) []string {
	var missing []string
	for _, kind := range slices.Sorted(maps.Keys(known)) {
		has, exists := published[kind]
		if !exists {
			missing = append(missing, "kind "+kind)
			continue
		}
		last := "-" // of the fields that are missing; no path begins so
		for _, path := range known[kind] {
			if slices.Contains(has, path) || strings.HasPrefix(path, last+".") || strings.HasPrefix(path, last+"[]") {
				continue
			}
			missing = append(missing, path+" of "+kind)
			last = path
		}
	}
	return missing
}
