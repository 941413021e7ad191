//go:build !linux

package main

import "github.com/spf13/cobra"

// nodeCommands are none: nodes run Linux.
func nodeCommands(streams) []*cobra.Command { return nil }
