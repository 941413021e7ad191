package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is a JSON schema, or a part of one.
type object = map[string]any

// schema makes the schema of the values.
type schema struct {
	types map[string]object // by path; groups of pods share those of "pod"
	defs  object
	used  map[string]bool
	// elsewhere are the answers to values that do not exist, by path.
	elsewhere map[string]string
}

// pods are the groups that run pods.
var pods = []string{"controller", "gateway", "network", "dns"}

func newSchema(chart, crds string) (*schema, error) {
	s := &schema{types: map[string]object{}, used: map[string]bool{}}
	if err := yaml.Unmarshal(types, &s.types); err != nil {
		return nil, fmt.Errorf("read types.yaml: %w", err)
	}
	s.defs = s.types["$defs"]
	delete(s.types, "$defs")
	for path, part := range maps.Clone(s.types) {
		if name, ok := strings.CutPrefix(path, "$defs."); ok {
			s.defs[name] = part
			delete(s.types, path)
		}
	}
	text, err := os.ReadFile(filepath.Join(chart, "files", "elsewhere.yaml"))
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &s.elsewhere); err != nil {
		return nil, fmt.Errorf("read elsewhere.yaml: %w", err)
	}
	for name, file := range map[string]string{"settings": "clustergatewayconfigs", "issuer": "issuers", "addressPool": "addresspools"} {
		spec, err := specOf(filepath.Join(crds, "fairway.dev_"+file+".yaml"))
		if err != nil {
			return nil, err
		}
		s.defs[name] = spec
	}
	if err := s.addFlags(); err != nil {
		return nil, err
	}
	issuer := s.defs["issuer"].(object)
	delete(issuer, "required") // the chart has a default for directory
	issuer["properties"].(object)["controller"] = object{"const": "controller.controllerValue says this"}
	pool := s.defs["addressPool"].(object)
	pool["required"] = []string{"name", "addresses"}
	pool["properties"].(object)["addresses"].(object)["items"].(object)["pattern"] = `^[0-9a-fA-F.:]+(/[0-9]{1,3}| *- *[0-9a-fA-F.:]+)?$`
	pool["properties"].(object)["name"] = object{"$ref": "#/$defs/class", "description": "The name of the AddressPool."}
	return s, nil
}

// addFlags adds the schemas of extraArgs: the flags of a process, and answers to those that other
// values set.
func (s *schema) addFlags() error {
	var known struct {
		Controller, Gateway, Node []string
		Elsewhere                 map[string]string
	}
	if err := yaml.Unmarshal(flags, &known); err != nil {
		return fmt.Errorf("read flags.yaml: %w", err)
	}
	for name, own := range map[string][]string{"controllerFlags": known.Controller, "gatewayFlags": known.Gateway, "nodeFlags": known.Node} {
		properties := object{}
		for _, flag := range own {
			properties[flag] = object{"type": []string{"string", "number", "boolean", "array", "null"}}
		}
		for flag, answer := range known.Elsewhere {
			properties[flag] = object{"const": answer}
		}
		s.defs[name] = object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	}
	return nil
}

// of returns the whole schema.
func (s *schema) of(values *yaml.Node) (object, error) {
	root := s.node("", values)
	properties := root["properties"].(object)
	properties["enabled"] = s.at("enabled")
	properties["global"].(object)["additionalProperties"] = true
	s.defs["gateway"] = properties["gateway"]
	properties["gateway"] = object{"$ref": "#/$defs/gateway"}
	gateway := s.defs["gateway"].(object)["properties"].(object)
	s.defs["service"] = gateway["service"]
	gateway["service"] = object{"$ref": "#/$defs/service"}
	for _, path := range []string{"allowSnippetAnnotations", "enableAnnotationValidations", "watchIngressWithoutClass"} {
		properties["controller"].(object)["properties"].(object)[path] = s.at("controller." + path)
	}
	for _, path := range slices.Sorted(maps.Keys(s.elsewhere)) {
		if err := s.refuse(root, path); err != nil {
			return nil, err
		}
	}
	for path := range s.types {
		if !s.used[path] {
			return nil, fmt.Errorf("types.yaml: there is no value %s", path)
		}
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Values of the chart fairway"
	root["$defs"] = s.defs
	return root, nil
}

// refuse makes the schema answer a value that does not exist: a schema that allows nothing but a
// text is answered with that text.
func (s *schema) refuse(root object, path string) error {
	at := root
	names := strings.Split(path, ".")
	for i, name := range names {
		at = s.resolve(at)
		properties, ok := at["properties"].(object)
		if !ok {
			return fmt.Errorf("elsewhere.yaml: %s: %s has no fields", path, strings.Join(names[:i], "."))
		}
		if i == len(names)-1 {
			properties[name] = object{"const": s.elsewhere[path]}
			return nil
		}
		next, ok := properties[name].(object)
		if !ok {
			return fmt.Errorf("elsewhere.yaml: %s: there is no %s", path, strings.Join(names[:i+1], "."))
		}
		at = next
	}
	return nil
}

func (s *schema) resolve(part object) object {
	for {
		ref, ok := part["$ref"].(string)
		if !ok {
			return part
		}
		part = s.defs[strings.TrimPrefix(ref, "#/$defs/")].(object)
	}
}

// at is the schema that types.yaml has for a path, or nil.
func (s *schema) at(path string) object {
	found, ok := s.types[path]
	if ok {
		s.used[path] = true
		return maps.Clone(found)
	}
	for _, group := range pods {
		if rest, inGroup := strings.CutPrefix(path, group+"."); inGroup {
			if found, ok := s.types["pod."+rest]; ok {
				s.used["pod."+rest] = true
				return maps.Clone(found)
			}
		}
	}
	return nil
}

// node is the schema of one value: what types.yaml says, or what follows from its default.
func (s *schema) node(path string, value *yaml.Node) object {
	given := s.at(path)
	if given != nil && (value.Kind != yaml.MappingNode || given["properties"] == nil) {
		return given
	}
	switch value.Kind { //nolint:exhaustive // all others are scalars
	case yaml.MappingNode:
		properties := object{}
		for i := 0; i < len(value.Content); i += 2 {
			name := value.Content[i].Value
			child := s.node(strings.TrimPrefix(path+"."+name, "."), value.Content[i+1])
			if text := comment(value.Content[i]); text != "" {
				child["description"] = text
			}
			properties[name] = child
		}
		if given != nil {
			maps.Copy(properties, given["properties"].(object))
		}
		return object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	case yaml.SequenceNode:
		return object{"type": []string{"array", "null"}}
	}
	switch value.Tag {
	case "!!bool":
		return object{"type": []string{"boolean", "null"}}
	case "!!int":
		return object{"$ref": "#/$defs/number"}
	case "!!null":
		return object{"$ref": "#/$defs/number"}
	}
	return object{"type": []string{"string", "null"}}
}

// comment is the text of the comment above a value.
func comment(key *yaml.Node) string {
	paragraphs := strings.Split(key.HeadComment, "\n\n")
	lines := strings.Split(paragraphs[len(paragraphs)-1], "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(lines[i], "#"))
	}
	return strings.TrimSpace(strings.Join(lines, " "))
}

// specOf is the schema of the spec of a custom resource, in the words of JSON schema: what is
// Kubernetes' own is left out, and fields that do not exist are refused.
func specOf(path string) (object, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPI struct {
						Properties struct{ Spec object }
					} `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(content, &definition); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return plain(definition.Spec.Versions[0].Schema.OpenAPI.Properties.Spec).(object), nil
}

func plain(part any) any {
	switch part := part.(type) {
	case object:
		out := object{}
		for key, value := range part {
			if !strings.HasPrefix(key, "x-kubernetes-") && key != "format" {
				out[key] = plain(value)
			}
		}
		if out["type"] == "object" && out["properties"] != nil && out["additionalProperties"] == nil {
			out["additionalProperties"] = false
		}
		return out
	case []any:
		out := make([]any, len(part))
		for i := range part {
			out[i] = plain(part[i])
		}
		return out
	}
	return part
}
