// Generate writes the files of the chart that follow from others: the schema of its values, its
// README, its copy of the defaults, and its custom resource definitions.
//
//	generate CHART CRDS
//
// It reads CHART/values.yaml, whose comments become descriptions, CHART/files/elsewhere.yaml,
// and the custom resource definitions in the folder CRDS.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed types.yaml
var types []byte

//go:embed flags.yaml
var flags []byte

//go:embed readme.md
var readme string

func main() {
	os.Exit(run(os.Args[1:])) //nolint:forbidigo // the shell needs the exit code
}

func run(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate CHART CRDS")
		return 2
	}
	if err := generate(args[0], args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		return 1
	}
	return 0
}

func generate(chart, crds string) error {
	defaults, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var values yaml.Node
	if err := yaml.Unmarshal(defaults, &values); err != nil {
		return fmt.Errorf("read values.yaml: %w", err)
	}
	schema, err := newSchema(chart, crds)
	if err != nil {
		return err
	}
	root, err := schema.of(values.Content[0])
	if err != nil {
		return err
	}
	text, err := marshal(root)
	if err != nil {
		return err
	}
	page := strings.Replace(readme, "{{values}}\n", table(values.Content[0]), 1)
	return errors.Join(
		os.WriteFile(filepath.Join(chart, "values.schema.json"), text, 0o644),
		os.WriteFile(filepath.Join(chart, "README.md"), []byte(page), 0o644),
		os.WriteFile(filepath.Join(chart, "files", "defaults.yaml"), uncommented(&values), 0o644),
		copyDefinitions(filepath.Join(chart, "files", "crds"), crds),
	)
}

// marshal writes a schema as JSON that people can read.
func marshal(schema any) ([]byte, error) {
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	to.SetEscapeHTML(false)
	to.SetIndent("", " ")
	err := to.Encode(schema)
	return text.Bytes(), err
}

// uncommented are the values without their comments.
func uncommented(values *yaml.Node) []byte {
	var strip func(*yaml.Node)
	strip = func(node *yaml.Node) {
		node.HeadComment, node.LineComment, node.FootComment = "", "", ""
		for _, child := range node.Content {
			strip(child)
		}
	}
	var copied yaml.Node
	text, _ := yaml.Marshal(values) // it was read from YAML
	_ = yaml.Unmarshal(text, &copied)
	strip(&copied)
	text, _ = yaml.Marshal(&copied)
	return append([]byte("# The defaults of values.yaml, which templates cannot read. \"make generate\" writes this file.\n"), text...)
}

// copyDefinitions copies the custom resource definitions into the chart, and removes others.
func copyDefinitions(to, from string) error {
	old, err := filepath.Glob(filepath.Join(to, "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(from, "fairway.dev_*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
