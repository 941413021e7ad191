package folder

import (
	"encoding/json"
	"fmt"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/document"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/xds/route"
)

// The reasons of the Problems of files (docs/problems.md).
const (
	UnreadableFile     problem.Reason = "UnreadableFile"     // or folder
	InvalidSyntax      problem.Reason = "InvalidSyntax"      // neither YAML nor JSON
	InvalidField       problem.Reason = "InvalidField"       // unknown, given twice, or of another type
	InvalidObject      problem.Reason = "InvalidObject"      // without kind or name, or with a wrong one
	UnsupportedVersion problem.Reason = "UnsupportedVersion" // of a kind that is read, in a version that is not
	DuplicateObject    problem.Reason = "DuplicateObject"    // declared before
	NoServiceName      problem.Reason = "NoServiceName"      // an EndpointSlice that belongs to no Service
)

// content is what one file holds.
type content struct {
	declared []declared
	// unknown says that something in the file cannot be identified: it could be
	// any object.
	unknown   bool
	mistakes  []mistake
	passed    []PassedOver
	workloads []Workload
	// namespaces are those that the file declares. They are not objects of the cache either.
	namespaces []metav1.ObjectMeta
}

// declared is one object of a file.
type declared struct {
	ref    ref
	object client.Object // nil: the document is broken
	place  place
}

// place is where an object is.
type place struct {
	file     string
	line     int
	document int    // in the file, from 0
	item     string // in the document: "items[3]", or empty
}

// mistake becomes a Problem once it is known what was there before: that decides
// the fate of the object.
type mistake struct {
	line    int
	reason  problem.Reason
	message string
	// ref is the affected object; zero: unknown.
	ref ref
	// harmless mistakes do not affect the object: it counts all the same.
	harmless bool
	// foreign, if not empty, is why the document is passed over rather than a
	// mistake. That is so if nothing else in its file is, or was, an object of
	// Kubernetes.
	foreign string
}

// parse reads a file. It depends on its arguments alone.
func parse(file string, text []byte) content {
	var c content
	documents, mistakes := document.Split(text)
	if mistakes != nil {
		c.unreadable(file, document.Document{Line: 1, Text: text}, mistakes)
	}
	for i, d := range documents {
		value, mistakes := d.Read()
		if mistakes != nil {
			c.unreadable(file, d, mistakes)
			continue
		}
		c.read(place{file: file, line: d.Begin(), document: i}, value)
	}
	return c
}

// header holds the fields that all objects have.
type header struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Sops       json.RawMessage `json:"sops"` // the mark of SOPS in what it has encrypted
	Metadata   *struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

// read reads one document, or one item of a list.
func (c *content) read(at place, value document.Value) {
	var h header
	switch {
	case !value.Peek(&h):
		c.misshapen(at, value)
		return
	case isEncrypted(h, value):
		c.pass(at, "", h.name()+" is encrypted by SOPS; decrypt it first")
		return
	case h.Kind == "" || h.APIVersion == "":
		c.incomplete(at, h)
		return
	case strings.HasSuffix(h.Kind, "List"):
		if at.item == "" && c.list(at, value, h) {
			return
		}
	}
	k, ok, err := kindOf(h.APIVersion, h.Kind)
	switch {
	case !ok && err == nil, err != nil && !isRead(h.Kind):
		c.pass(at, h.Kind, "")
		c.workload(at, value, h.Kind)
	case k.empty == nil:
		c.refuse(at, InvalidObject, err.Error())
	default:
		c.object(at, value, k, h, err)
	}
}

// list reads the items of a List, or of the list kind of a kind that is read.
func (c *content) list(at place, value document.Value, h header) bool {
	if h.Kind != "List" {
		if _, ok, err := kindOf(h.APIVersion, strings.TrimSuffix(h.Kind, "List")); !ok || err != nil {
			return false
		}
	}
	items, mistakes := value.Items()
	if mistakes != nil {
		c.unknown = true
		c.add(InvalidField, ref{}, mistakes)
	}
	for _, item := range items {
		at.item, at.line = item.At, item.Line("")
		c.read(at, withKind(item, h))
	}
	return true
}

// withKind completes an item of a typed list: such items need not say their kind.
func withKind(item document.Value, list header) document.Value {
	var h header
	if list.Kind == "List" || !item.Peek(&h) || h.Kind != "" {
		return item
	}
	fields := strings.TrimPrefix(strings.TrimSpace(string(item.JSON)), "{")
	separator := ","
	if strings.TrimSpace(fields) == "}" {
		separator = ""
	}
	item.JSON = fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q%s%s`, list.APIVersion, strings.TrimSuffix(list.Kind, "List"), separator, fields)
	return item
}

// object reads one object of a kind that is read, unless its version is
// unsupported.
func (c *content) object(at place, value document.Value, k kind, h header, unsupported error) {
	var namespace, name string
	if h.Metadata != nil {
		namespace, name = h.Metadata.Namespace, h.Metadata.Name
	}
	r, err := k.refOf(namespace, name)
	if err != nil {
		c.mistakes = append(c.mistakes, mistake{line: value.Line("metadata.name"), reason: InvalidObject, message: err.Error()})
		c.unknown = true
		return
	}
	if unsupported != nil {
		c.mistakes = append(c.mistakes, mistake{line: at.line, reason: UnsupportedVersion, message: fmt.Sprintf("%s: %v", r, unsupported), ref: r})
		c.declared = append(c.declared, declared{ref: r, place: at})
		return
	}
	object := k.empty()
	if mistakes := value.Decode(object); mistakes != nil {
		c.add(InvalidField, r, mistakes)
		c.checkSettings(value, r, k)
		c.declared = append(c.declared, declared{ref: r, place: at})
		return
	}
	complete(object, r)
	c.declared = append(c.declared, declared{ref: r, object: object, place: at})
	if slice, ok := object.(*discoveryv1.EndpointSlice); ok && slice.Labels[discoveryv1.LabelServiceName] == "" {
		c.mistakes = append(c.mistakes, mistake{
			line: value.Line("metadata.labels"), reason: NoServiceName, ref: r, harmless: true,
			message: fmt.Sprintf("%s belongs to no Service; its label %s must name one", r, discoveryv1.LabelServiceName),
		})
	}
}

// checkSettings finds what else is wrong with a gateway's configuration that has
// an unknown field. Such a configuration does not count, so nothing else checks
// it.
func (c *content) checkSettings(value document.Value, r ref, k kind) {
	object := k.empty()
	if !value.Peek(object) {
		return // it cannot be read as settings
	}
	var spec v1alpha1.GatewayConfigSpec
	switch config := object.(type) {
	case *v1alpha1.ClusterGatewayConfig:
		spec = config.Spec
	case *v1alpha1.GatewayConfig:
		spec = config.Spec
	default:
		return
	}
	base := route.DefaultSettings()
	base.HTTPSPort = 443 // as for a controller without flags
	_, problems := route.BuildSettings(base, problem.Object{}, spec)
	for _, p := range problems {
		c.mistakes = append(c.mistakes, mistake{
			line: value.Line(p.Field), reason: p.Reason, ref: r, message: fmt.Sprintf("%s: %s: %s", r, p.Field, p.Message),
		})
	}
}

// refuse notes a document that could be any object.
func (c *content) refuse(at place, reason problem.Reason, message string) {
	c.unknown = true
	c.mistakes = append(c.mistakes, mistake{line: at.line, reason: reason, message: message})
}

func (c *content) add(reason problem.Reason, r ref, mistakes []document.Mistake) {
	for _, m := range mistakes {
		message := m.Message
		if r != (ref{}) {
			message = fmt.Sprintf("%s: %s", r, message)
		}
		c.mistakes = append(c.mistakes, mistake{line: m.Line, reason: reason, message: message, ref: r})
	}
}

// FileKind is the kind of the object of a file's Problems. The object's name is
// the file's path.
const FileKind = "File"

// fileProblem makes a Problem of a file: on a line, or with line 0 as a whole.
func fileProblem(file string, line int, reason problem.Reason, message string) problem.Problem {
	p := problem.Problem{
		Object:  problem.Object{Kind: FileKind, Name: types.NamespacedName{Name: file}},
		Reason:  reason,
		Message: message,
	}
	if line > 0 {
		p.Field = fmt.Sprintf("line %d", line)
	}
	return p
}
