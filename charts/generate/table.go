package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// table writes the values as tables for people, one for each group.
func table(values *yaml.Node) string {
	var page strings.Builder
	general := []row{}
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
			general = append(general, rows(key.Value, key, value)...)
		}
	}
	writeTable(&page, "Names and labels of all objects", "", general)
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			writeTable(&page, "`"+key.Value+"`", comment(key), rows(key.Value, nil, value))
		}
	}
	return page.String()
}

// row is one value for people.
type row struct{ path, value, text string }

// rows are the values below a path. A map without a comment on its fields is one row.
func rows(path string, key, value *yaml.Node) []row {
	if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
		return []row{{path, inline(value), comment(key)}}
	}
	var all []row
	if key != nil && comment(key) != "" {
		all = append(all, row{path, "", comment(key)})
	}
	for i := 0; i < len(value.Content); i += 2 {
		all = append(all, rows(path+"."+value.Content[i].Value, value.Content[i], value.Content[i+1])...)
	}
	return all
}

func inline(value *yaml.Node) string {
	var content any
	_ = value.Decode(&content)
	text, _ := json.Marshal(content)
	return string(text)
}

func writeTable(page *strings.Builder, title, text string, all []row) {
	fmt.Fprintf(page, "### %s\n\n", title)
	if text != "" {
		fmt.Fprintf(page, "%s\n\n", text)
	}
	page.WriteString("| value | default | |\n|---|---|---|\n")
	for _, r := range all {
		value := ""
		if r.value != "" {
			value = "`" + r.value + "`"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", r.path, value, strings.ReplaceAll(r.text, "|", "\\|"))
	}
	page.WriteString("\n")
}
