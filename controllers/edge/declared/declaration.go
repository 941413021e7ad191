package declared

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

const (
	// ownerEntry is the key of a ConfigMap's data that names the owner, and
	// manifestSuffix ends the keys of manifests.
	ownerEntry     = "owner"
	manifestSuffix = ".yaml"
	// ownerPrefix is what comes before the name of an owner.
	ownerPrefix = "ClusterRole/"
)

// Key names an object of cluster scope that is or was declared. The zero Key is
// the ConfigMap as a whole.
type Key struct {
	Kind string // "Issuer", "ClusterGatewayConfig" or "AddressPool"
	Name string
}

// String is "Issuer letsencrypt".
func (k Key) String() string {
	if k == (Key{}) {
		return "the ConfigMap"
	}
	return k.Kind + " " + k.Name
}

// Declaration is what a ConfigMap declares.
type Declaration struct {
	// Owner is the name of the ClusterRole that owns the objects; empty: none
	// does. NoOwner says that the ConfigMap names an owner that cannot be read.
	Owner   string
	NoOwner bool
	// Objects are the manifests that can be applied.
	Objects map[Key]Manifest
	// Named are all objects that an entry names, even if its manifest is wrong.
	Named map[Key]bool
	// Unreadable says that an entry does not tell which object it names.
	Unreadable bool
	// Problems are those of the ConfigMap.
	Problems []problem.Problem
}

// Manifest is an entry of a ConfigMap that can be applied.
type Manifest struct {
	Entry   string         // its key in data
	Text    string         // as it is written
	Content map[string]any // without status, and of metadata only name, labels and annotations
}

// Parse reads a ConfigMap. An entry with a mistake costs only itself. If two
// entries name one object, the first in the order of their keys counts.
func Parse(from *corev1.ConfigMap) *Declaration {
	d := &Declaration{Objects: map[Key]Manifest{}, Named: map[Key]bool{}}
	wrong := func(entry, message string) {
		d.Problems = append(d.Problems, problemOf(client.ObjectKeyFromObject(from), entry, ReasonManifestInvalid, message))
	}
	for _, entry := range slices.Sorted(maps.Keys(from.Data)) {
		text := from.Data[entry]
		switch {
		case entry == ownerEntry:
			if message := d.setOwner(strings.TrimSpace(text)); message != "" {
				wrong(entry, message)
			}
		case strings.HasSuffix(entry, manifestSuffix):
			if message := d.add(entry, text); message != "" {
				wrong(entry, message)
			}
		default:
			wrong(entry, fmt.Sprintf("the key is neither %q nor does it end in %q; Fairway ignores the entry", ownerEntry, manifestSuffix))
		}
	}
	return d
}

func (d *Declaration) setOwner(text string) (wrong string) {
	name, isClusterRole := strings.CutPrefix(text, ownerPrefix)
	switch {
	case text == "":
		return ""
	case !isClusterRole || name == "" || strings.Contains(name, "/"):
		d.NoOwner = true
		return fmt.Sprintf("the owner is %q; write %sNAME, or leave it empty; until then Fairway makes nothing of what is declared", text, ownerPrefix)
	}
	d.Owner = name
	return ""
}

// add adds the manifest of an entry, or returns what is wrong with it.
func (d *Declaration) add(entry, text string) (wrong string) {
	content, err := decode(text)
	if err != nil {
		d.Unreadable = true
		return fmt.Sprintf("%v; until the entry can be read, Fairway makes nothing of it and deletes no declared object", err)
	}
	object := unstructured.Unstructured{Object: content}
	kind, name := object.GetKind(), object.GetName()
	switch {
	case kind == "" || name == "" && declarable(kind):
		d.Unreadable = true
		return "it has no kind or no metadata.name; until it has, Fairway makes nothing of it and deletes no declared object"
	case !declarable(kind):
		return fmt.Sprintf("it is a manifest of kind %s; only an Issuer, a ClusterGatewayConfig or an AddressPool can be declared here", kind)
	}
	key := Key{kind, name}
	if d.Named[key] {
		return fmt.Sprintf("an entry before it declares %s, too; that one counts", key)
	}
	d.Named[key] = true
	if message := mistakeIn(object); message != "" {
		return message + "; Fairway makes nothing of it, and leaves an object that it made earlier as it is"
	}
	d.Objects[key] = Manifest{Entry: entry, Text: text, Content: trimmed(content)}
	return ""
}

// mistakeIn returns what is wrong with a manifest and what the API server would
// not say as well.
func mistakeIn(object unstructured.Unstructured) string {
	if version := v1alpha1.SchemeGroupVersion().String(); object.GetAPIVersion() != version {
		return fmt.Sprintf("the apiVersion is %q, not %q", object.GetAPIVersion(), version)
	}
	if wrong := validation.IsDNS1123Subdomain(object.GetName()); len(wrong) > 0 {
		return fmt.Sprintf("metadata.name %q cannot be the name of an object", object.GetName())
	}
	metadata, _, err := unstructured.NestedMap(object.Object, "metadata")
	if err != nil {
		return "metadata is not a map"
	}
	for _, field := range slices.Sorted(maps.Keys(metadata)) {
		switch field {
		case "name":
		case "labels", "annotations":
			if _, _, err := unstructured.NestedStringMap(object.Object, "metadata", field); err != nil {
				return fmt.Sprintf("metadata.%s has a value that is no string", field)
			}
		case "namespace":
			return "it has a metadata.namespace, but objects of its kind are in no namespace"
		default:
			return fmt.Sprintf("metadata.%s cannot be declared", field)
		}
	}
	return ""
}

// trimmed is the content without its status, which others write.
func trimmed(content map[string]any) map[string]any {
	content = maps.Clone(content)
	delete(content, "status")
	return content
}

// decode reads a text that holds one manifest.
func decode(text string) (map[string]any, error) {
	var found []map[string]any
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no YAML: %w", err)
		}
		asJSON, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, fmt.Errorf("it is no YAML: %w", err)
		}
		if bytes.Equal(asJSON, []byte("null")) {
			continue // nothing, or comments
		}
		var content map[string]any
		if err := json.Unmarshal(asJSON, &content); err != nil {
			return nil, errors.New("it is no manifest")
		}
		found = append(found, content)
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("it holds %d manifests in place of one", len(found))
	}
	return found[0], nil
}

func problemOf(configMap client.ObjectKey, entry string, reason problem.Reason, message string) problem.Problem {
	p := problem.Problem{Object: problem.Object{Kind: "ConfigMap", Name: configMap}, Reason: reason, Message: message}
	if entry != "" {
		p.Field = "data[" + entry + "]"
	}
	return p
}
