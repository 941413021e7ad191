// Package document reads YAML and JSON strictly. It knows the file and line of
// every value, so that its callers can say where a mistake is.
//
// YAML is read exactly as kubectl reads it: converted to JSON, then decoded by
// Kubernetes' own case-sensitive decoder. Unknown and repeated fields are
// mistakes, never ignored. The package knows neither kinds nor paths: a file is
// its bytes. It returns what is wrong with a document as Mistakes, all of them at
// once if possible.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// Mistake is one fault in a document.
type Mistake struct {
	Line    int    // of the file, from 1
	Field   string // "spec.rules[0].host"; empty for the whole document
	Message string // one phrase: `unknown field "spec.rulez"`
}

// Document is one document of a file, not parsed yet.
type Document struct {
	Line int // first line, from 1
	Text []byte
}

// Split cuts a file into its documents: YAML documents between lines of "---", or
// a sequence of JSON values. It leaves out documents without content. A file is
// UTF-8, or UTF-16 or UTF-32 as YAML defines them. A file in another encoding is
// a mistake and has no documents.
func Split(file []byte) ([]Document, []Mistake) {
	file, mistakes := text(file)
	if mistakes != nil {
		return nil, mistakes
	}
	if documents, ok := splitJSON(file); ok {
		return documents, nil
	}
	return splitYAML(file), nil
}

// splitJSON reports whether the file is a stream of JSON objects. Everything else
// is read as YAML. YAML includes nearly all of JSON, but not indentation by tabs.
func splitJSON(file []byte) ([]Document, bool) {
	if first := bytes.TrimLeft(file, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return nil, false
	}
	var documents []Document
	decoder := json.NewDecoder(bytes.NewReader(file))
	for line, read := 1, 0; ; {
		var text json.RawMessage
		if err := decoder.Decode(&text); errors.Is(err, io.EOF) {
			return documents, true
		} else if err != nil {
			return nil, false
		}
		begin := int(decoder.InputOffset()) - len(text)
		line += bytes.Count(file[read:begin], []byte("\n"))
		documents = append(documents, Document{Line: line, Text: text})
		line += bytes.Count(text, []byte("\n"))
		read = int(decoder.InputOffset())
	}
}

func splitYAML(file []byte) []Document {
	var documents []Document
	current := Document{Line: 1}
	finish := func(next int) {
		if hasContent(current.Text) {
			documents = append(documents, current)
		}
		current = Document{Line: next}
	}
	number := 0
	for line := range bytes.Lines(file) {
		number++
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // from the start of a file that was appended to another
		switch rest, kind := marker(line); kind {
		case start:
			finish(number)
			current.Text = append(current.Text, rest...)
		case end:
			finish(number + 1)
		case directive:
			current.Text = append(current.Text, '\n') // keeps the count of lines
		default:
			current.Text = append(current.Text, line...)
		}
	}
	finish(0)
	return documents
}

type lineKind int

const (
	content lineKind = iota
	start            // "---", perhaps followed by content
	end              // "..."
	directive
)

// marker says what a line is. The content of a block is indented, so a marker in
// the first column is always a marker. For a start, rest is the text after it.
func marker(line []byte) ([]byte, lineKind) {
	text := bytes.TrimRight(line, " \t\r\n")
	switch {
	case bytes.Equal(text, []byte("...")):
		return nil, end
	case bytes.HasPrefix(line, []byte("%YAML")), bytes.HasPrefix(line, []byte("%TAG")):
		return nil, directive
	case bytes.Equal(text, []byte("---")):
		return []byte("\n"), start
	case bytes.HasPrefix(line, []byte("--- ")), bytes.HasPrefix(line, []byte("---\t")):
		return append([]byte("   "), line[3:]...), start
	}
	return nil, content
}

// hasContent reports whether text holds anything besides comments.
func hasContent(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// Begin is the line on which the document's content begins.
func (d Document) Begin() int {
	number := d.Line
	for line := range bytes.Lines(d.Text) {
		if hasContent(line) {
			break
		}
		number++
	}
	return number
}

// Value is a parsed document, or a part of one.
type Value struct {
	JSON     []byte
	Document Document
	// At is the path of the value in its document, "items[3]"; empty for the
	// whole.
	At string
	// nodes is the parsed document with its lines. It is read at the first use,
	// once for all parts of the document.
	nodes func() *yaml.Node
}

// Read parses the document. It checks only the syntax, and that no field is
// repeated.
func (d Document) Read() (Value, []Mistake) {
	if json.Valid(d.Text) {
		return Value{JSON: d.Text, Document: d, nodes: d.nodes()}, nil
	}
	converted, err := kyaml.YAMLToJSONStrict(d.Text)
	if err != nil {
		return Value{}, d.mistakes(err)
	}
	return Value{JSON: converted, Document: d, nodes: d.nodes()}, nil
}

// line converts a line of the document into a line of the file, from 1. The YAML
// library may point beyond the end of an unterminated value, and its line ends
// differ from those of editors.
func (d Document) line(within int) int {
	return d.Line + min(within-1, bytes.Count(bytes.TrimRight(d.Text, " \t\r\n"), []byte("\n")))
}

// where finds the line number in messages of the YAML library.
var where = regexp.MustCompile(`^line (\d+): `)

// noAnchor is the YAML library's message for *.shop.test without quotes.
const noAnchor = "did not find expected alphabetic or numeric character"

// mistakes splits an error of the YAML library. It is either one message, or a
// heading and one message per line.
func (d Document) mistakes(err error) []Mistake {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "yaml: "), "unmarshal errors:\n")
	var found []Mistake
	for _, message := range strings.Split(text, "\n") {
		message = strings.TrimSpace(message)
		line := 1
		if match := where.FindStringSubmatch(message); match != nil {
			line, _ = strconv.Atoi(match[1]) // digits only
			message = strings.TrimPrefix(message, match[0])
		}
		if message == noAnchor {
			message = "a value that begins with * or & must be in quotes"
		}
		found = append(found, Mistake{Line: d.line(line), Message: message})
	}
	return found
}

// Decode stores the value in the struct that into points to. If there are
// mistakes, the struct must not be used.
func (v Value) Decode(into any) []Mistake {
	strict, err := kjson.UnmarshalStrict(v.JSON, into)
	if err != nil {
		if found := v.encodings(reflect.TypeOf(into)); found != nil {
			return found
		}
		return []Mistake{v.mistake(err)}
	}
	var found []Mistake
	for _, err := range strict {
		mistake := Mistake{Message: err.Error()}
		var field kjson.FieldError
		if errors.As(err, &field) {
			mistake.Field = field.FieldPath()
		}
		mistake.Line = v.Line(mistake.Field)
		found = append(found, mistake)
	}
	return found
}

// mistake says in plain words which value does not fit its field.
func (v Value) mistake(err error) Mistake {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return Mistake{Line: v.Line(""), Message: strings.TrimPrefix(err.Error(), "json: ")}
	}
	field, subject := fieldAt(v.JSON, wrong.Offset), "the document"
	if field != "" {
		subject = fmt.Sprintf("field %q", field)
	}
	return Mistake{
		Line:    v.Line(field),
		Field:   field,
		Message: fmt.Sprintf("%s holds %s and wants %s", subject, held(wrong.Value), wanted(wrong.Type)),
	}
}

// Peek stores the fields that fit into the struct that into points to, and
// ignores the rest. It reports whether it could store anything.
func (v Value) Peek(into any) bool {
	return kjson.UnmarshalCaseSensitivePreserveInts(v.JSON, into) == nil
}

// Items are the elements of the list "items".
func (v Value) Items() ([]Value, []Mistake) {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(v.JSON, &list); err != nil {
		return nil, []Mistake{v.mistake(err)}
	}
	items := make([]Value, len(list.Items))
	for i, item := range list.Items {
		items[i] = Value{JSON: item, Document: v.Document, At: fmt.Sprintf("items[%d]", i), nodes: v.nodes}
	}
	return items, nil
}
