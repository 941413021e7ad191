// Command images builds the images of Fairway, publishes them, and renews the pins of
// what is in them. "make images" runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run()) //nolint:forbidigo // the shell needs the exit code
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		return 1
	}
	return 0
}

func command() *cobra.Command {
	images := &cobra.Command{
		Use: "images", Short: "Build and publish Fairway's images",
		SilenceUsage: true, SilenceErrors: true,
	}
	images.AddCommand(buildCommand(), publishCommand(), fetchCommand(), pinsCommand())
	return images
}

// root is the root of the checkout that contains the working directory.
func root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("find the repository: no go.mod above %s", start)
		}
	}
}

// sayTo prints lines.
func sayTo(command *cobra.Command) func(string) {
	return func(line string) { fmt.Fprintln(command.OutOrStdout(), line) }
}
