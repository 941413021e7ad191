package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/images"
	"github.com/fairwaynet/fairway/images/debian"
)

// pinsFile is the file of pins, in the repository.
const pinsFile = "images/debian/pins.txt"

func pinsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "pins", Short: "Pin the newest Debian packages, by the hashes in Debian's signed indexes",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			root, err := root()
			if err != nil {
				return err
			}
			archive := debian.NewArchive(filepath.Join(images.Cache(root), "debian"))
			pins, err := archive.Renew(command.Context(), time.Now())
			if err != nil {
				return err
			}
			to := filepath.Join(root, pinsFile)
			if err := os.WriteFile(to, []byte(pins.String()), 0o644); err != nil {
				return fmt.Errorf("write pins: %w", err)
			}
			fmt.Fprintf(command.OutOrStdout(), "%s has the newest versions: see git diff, then run make images\n", pinsFile)
			return nil
		},
	}
}
