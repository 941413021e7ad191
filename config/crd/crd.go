// Package crd holds the manifests of the custom resources for programs that must know
// what this version defines. "make generate" writes the manifests.
package crd

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed fairway.dev_*.yaml
var files embed.FS

// Manifests returns the manifests of all CustomResourceDefinitions, each as YAML.
func Manifests() ([][]byte, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var all [][]byte
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		all = append(all, text)
	}
	return all, nil
}
