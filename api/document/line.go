package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Line is the line of the file that holds a field of the value, or the nearest
// field above it that exists. The empty field is the value itself.
func (v Value) Line(field string) int {
	root := v.nodes()
	if root == nil {
		return v.Document.Line
	}
	path := v.At
	if path != "" && field != "" && field[0] != '[' {
		path += "."
	}
	return v.Document.line(lineOf(root, path+field))
}

// nodes parses the document again, with a library that keeps line numbers. It is
// nil if only the other library can read the document.
func (d Document) nodes() func() *yaml.Node {
	return sync.OnceValue(func() *yaml.Node {
		text := d.Text
		if json.Valid(text) {
			text = bytes.ReplaceAll(text, []byte("\t"), []byte(" ")) // YAML requires spaces for indentation
		}
		var root yaml.Node
		if err := yaml.Unmarshal(text, &root); err != nil || len(root.Content) == 0 {
			return nil
		}
		return root.Content[0]
	})
}

// lineOf follows the path as far as it exists.
func lineOf(node *yaml.Node, path string) int {
	line := node.Line
	for path != "" {
		for node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		next, at, rest := step(node, path)
		if next == nil {
			break
		}
		node, line, path = next, at, rest
	}
	return line
}

// step follows the first element of a path. It returns the child, the line of the
// child's key, and the rest of the path.
func step(node *yaml.Node, path string) (child *yaml.Node, line int, rest string) {
	switch node.Kind {
	case yaml.SequenceNode:
		index, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.Atoi(index)
		if !ok || err != nil || i < 0 || i >= len(node.Content) {
			return nil, 0, ""
		}
		return node.Content[i], node.Content[i].Line, strings.TrimPrefix(rest, ".")
	case yaml.MappingNode:
		if bracketed, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]"); ok && path[0] == '[' {
			path = bracketed + rest // the notation for map keys: annotations[a.b/c]
		}
		best := -1 // keys may hold dots, so the longest match wins
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i].Value
			if leads(path, key) && (best < 0 || len(key) > len(node.Content[best].Value)) {
				best = i
			}
		}
		if best < 0 {
			return nil, 0, ""
		}
		key := node.Content[best]
		return node.Content[best+1], key.Line, strings.TrimPrefix(path[len(key.Value):], ".")
	default:
		return nil, 0, ""
	}
}

// leads reports whether key is the first element of path.
func leads(path, key string) bool {
	rest, ok := strings.CutPrefix(path, key)
	return ok && key != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// fieldAt is the path of the value at an offset of a valid JSON text. The offset
// is the position after the value, as decoders count it.
func fieldAt(text []byte, offset int64) string {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	found, _ := walk(decoder, "", offset)
	return found
}

// walk reads one value and returns the path of the innermost value at the offset.
func walk(decoder *json.Decoder, path string, offset int64) (string, bool) {
	token, err := decoder.Token()
	if err != nil {
		return "", false
	}
	if decoder.InputOffset() >= offset {
		return path, true
	}
	switch token {
	case json.Delim('{'):
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return "", false
			}
			if found, ok := walk(decoder, join(path, fmt.Sprint(key)), offset); ok {
				return found, true
			}
		}
		_, _ = decoder.Token() // the closing brace
	case json.Delim('['):
		for i := 0; decoder.More(); i++ {
			if found, ok := walk(decoder, fmt.Sprintf("%s[%d]", path, i), offset); ok {
				return found, true
			}
		}
		_, _ = decoder.Token()
	}
	return "", false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// held translates the name that encoding/json gives a value ("number 1.5") into
// YAML terms.
func held(value string) string {
	switch kind, _, _ := strings.Cut(value, " "); kind {
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "bool":
		return "true or false"
	default:
		return "a " + value
	}
}

// wanted names a Go type in YAML terms.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string of base64"
		}
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	default:
		return "a " + t.String()
	}
}
