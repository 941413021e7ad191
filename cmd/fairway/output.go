package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// outputFormat is the form in which a command prints what it has found.
type outputFormat string

// The formats.
const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

func (o *outputFormat) bind(flags *pflag.FlagSet) {
	flags.StringVarP((*string)(o), "output", "o", string(*o), "text or json")
}

func (o *outputFormat) validate() error {
	if *o != outputText && *o != outputJSON {
		return fmt.Errorf("--output: %q is neither text nor json", *o)
	}
	return nil
}

// write writes a value as JSON, or else its text.
func (o *outputFormat) write(to io.Writer, value any, text func() string) error {
	var err error
	if *o == outputJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(value)
	} else {
		_, err = io.WriteString(to, text())
	}
	if err != nil {
		return exit{code: exitUsage, cause: fmt.Errorf("write: %w", err)}
	}
	return nil
}
