package gateway

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Find returns the Envoy to run: the given path, or that of the environment variable
// FAIRWAY_ENVOY, or the one that "make tools-envoy" has put into the working directory, or
// the one in PATH.
func Find(path string, getenv func(string) string) (string, error) {
	if path == "" {
		path = getenv("FAIRWAY_ENVOY")
	}
	if path != "" {
		return lookPath(path)
	}
	if path, err := exec.LookPath(filepath.Join(".tools", "bin", "envoy")); err == nil || errors.Is(err, exec.ErrDot) {
		return filepath.Abs(path)
	}
	return lookPath("envoy")
}

// lookPath is exec.LookPath, whose errors it keeps without the name of package exec.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if lookup := (*exec.Error)(nil); errors.As(err, &lookup) {
		return path, fmt.Errorf("%s: %w", lookup.Name, lookup.Err)
	}
	return path, err
}
