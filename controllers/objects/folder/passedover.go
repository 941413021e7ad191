package folder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/api/document"
	"github.com/fairwaynet/fairway/api/problem"
)

// PassedOver is something in a file that is not read and is no mistake: folders of
// manifests hold other things too.
type PassedOver struct {
	Place

	// Kind is the kind of an object of Kubernetes that Fairway does not read
	// ("Deployment"). If it is empty, Why says what the thing is.
	Kind string
	// Why is for people; it completes "passed over: ".
	Why string
}

// String returns a line for people.
func (p PassedOver) String() string {
	if p.Kind != "" {
		return fmt.Sprintf("%s: passed over: %s", p.Place, p.Kind)
	}
	return fmt.Sprintf("%s: passed over: %s", p.Place, p.Why)
}

func (c *content) pass(at place, kind, why string) {
	c.passed = append(c.passed, PassedOver{Place: Place{at.file, at.line}, Kind: kind, Why: why})
}

// doubt notes a document that is no object but could be the rest of one.
func (c *content) doubt(at place, reason problem.Reason, message, why string) {
	c.unknown = true
	c.mistakes = append(c.mistakes, mistake{line: at.line, reason: reason, message: message, foreign: why})
}

// noObject is why most other files beside manifests are passed over.
const noObject = "it is no Kubernetes object"

// incomplete judges a document without kind or apiVersion. Values and settings of
// other tools have some of an object's fields, too.
func (c *content) incomplete(at place, h header) {
	const message = "an object needs both kind and apiVersion"
	named := h.Metadata != nil && h.Metadata.Name != ""
	switch {
	case h.Kind == "" && h.APIVersion == "" && h.Metadata == nil:
		c.pass(at, "", noObject)
	case isRead(h.Kind), h.Kind == "" && named:
		c.refuse(at, InvalidObject, message)
	case h.Kind == "":
		c.doubt(at, InvalidObject, message, noObject+": it has no kind")
	default:
		c.doubt(at, InvalidObject, message, noObject+": it has no apiVersion")
	}
}

// misshapen judges a document whose kind, apiVersion or metadata have types that
// they cannot have in an object.
func (c *content) misshapen(at place, value document.Value) {
	mistakes := value.Decode(&header{})
	var loose struct {
		Kind any `json:"kind"`
	}
	var ours bool
	if value.Peek(&loose) {
		kind, _ := loose.Kind.(string)
		ours = isRead(kind)
	} else {
		ours = holdsObjects(value)
	}
	for _, m := range mistakes {
		message := m.Message
		if ours && loose.Kind == nil {
			message += `; objects in a list stand under "items" of an object of kind List`
		}
		if ours {
			c.refuse(place{file: at.file, line: m.Line}, InvalidObject, message)
		} else {
			c.doubt(place{file: at.file, line: m.Line}, InvalidObject, message, noObject)
		}
	}
}

// holdsObjects reports whether a list holds objects of a kind that is read.
func holdsObjects(value document.Value) bool {
	var list []json.RawMessage
	if !value.Peek(&list) {
		return false
	}
	return slices.ContainsFunc(list, func(item json.RawMessage) bool {
		var h header
		return document.Value{JSON: item}.Peek(&h) && isRead(h.Kind)
	})
}

// unreadable judges what is neither YAML nor JSON. It reports a template as a
// template, once for its file. A document with neither kind nor apiVersion may be
// no object at all.
func (c *content) unreadable(file string, d document.Document, mistakes []document.Mistake) {
	text := bytes.ReplaceAll(d.Text, []byte("\x00"), nil) // of UTF-16
	if marker := template.FindIndex(text); marker != nil {
		c.template(place{file: file, line: d.Line + bytes.Count(text[:marker[0]], []byte("\n"))}, text)
		return
	}
	for _, m := range mistakes {
		if identity.Match(text) {
			c.refuse(place{file: file, line: m.Line}, InvalidSyntax, m.Message)
		} else {
			c.doubt(place{file: file, line: m.Line}, InvalidSyntax, m.Message, noObject+", and cannot be read: "+m.Message)
		}
	}
}

var (
	// template matches what Helm, Jinja and the like replace.
	template = regexp.MustCompile(`\{\{|\{%`)
	// identity matches a line that says what an object is; kindLine matches its
	// kind.
	identity = regexp.MustCompile(`(?m)^[ \t{,-]*["']?(?:kind|apiVersion)["']?[ \t]*:`)
	kindLine = regexp.MustCompile(`(?m)^[ \t{,-]*["']?kind["']?[ \t]*:[ \t]*["']?([A-Za-z]+|\{\{)`)
)

const renderFirst = "it is a template, not a manifest: render it first, for example with helm template CHART | fairway check -"

// template notes a document that must be rendered before it can be read. It is a
// mistake if it may become an object that is read: a user who has a folder checked
// wants to hear that such objects were not.
func (c *content) template(at place, text []byte) {
	var ours bool
	for _, kind := range kindLine.FindAllSubmatch(text, -1) {
		ours = ours || isRead(string(kind[1])) || string(kind[1]) == "{{"
	}
	said := func(m mistake) bool { return m.message == renderFirst }
	switch {
	case !ours && !slices.ContainsFunc(c.passed, func(p PassedOver) bool { return p.Why == renderFirst }):
		c.unknown = true
		c.pass(at, "", renderFirst)
	case ours && !slices.ContainsFunc(c.mistakes, said):
		c.refuse(at, InvalidSyntax, renderFirst)
	}
}

// isEncrypted reports whether SOPS has encrypted values of the document.
func isEncrypted(h header, value document.Value) bool {
	return len(h.Sops) > 0 && bytes.Contains(value.JSON, []byte("ENC["))
}

// name returns what a document says that it is, if it cannot be read further.
func (h header) name() string {
	switch {
	case h.Kind == "" || strings.HasPrefix(h.Kind, "ENC["):
		return "a document"
	case h.Metadata == nil || strings.HasPrefix(h.Metadata.Name, "ENC["):
		return h.Kind
	}
	return h.Kind + " " + h.Metadata.Name
}
