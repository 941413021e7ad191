package document

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Entry is one line of a flat configuration file.
type Entry struct {
	Name   string
	Values []string // one value, or the elements of a list
	Line   int
}

// Entries reads a configuration file: one flat mapping of names to scalars or
// lists of scalars. It keeps the order of the file.
func Entries(file []byte) ([]Entry, []Mistake) {
	documents, mistakes := Split(file)
	if mistakes != nil {
		return nil, mistakes
	}
	if len(documents) == 0 {
		return nil, nil
	}
	if len(documents) > 1 {
		return nil, []Mistake{{Line: documents[1].Line, Message: "a second document begins here; one is wanted"}}
	}
	document := documents[0]
	value, mistakes := document.Read()
	if mistakes != nil {
		return nil, mistakes
	}
	root := value.nodes()
	if root == nil {
		return nil, []Mistake{{Line: document.Begin(), Message: `lines of "name: value" are wanted`}}
	}
	return entries(root, document)
}

func entries(node *yaml.Node, document Document) ([]Entry, []Mistake) {
	if node.Kind != yaml.MappingNode {
		return nil, []Mistake{{Line: document.line(node.Line), Message: `lines of "name: value" are wanted`}}
	}
	var found []Entry
	var mistakes []Mistake
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		entry := Entry{Name: key.Value, Line: document.line(key.Line)}
		values := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			values = value.Content
		}
		for _, value := range values {
			if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
				mistakes = append(mistakes, Mistake{Line: document.line(key.Line), Field: key.Value,
					Message: fmt.Sprintf("%q wants a plain value", key.Value)})
				break
			}
			entry.Values = append(entry.Values, value.Value)
		}
		found = append(found, entry)
	}
	return found, mistakes
}
