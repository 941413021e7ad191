package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/images"
)

// building are the flags of "images build".
type building struct {
	to, version   string
	architectures []string
}

func buildCommand() *cobra.Command {
	b := building{to: "dist"}
	build := &cobra.Command{
		Use: "build [IMAGE]", Short: "Build the images into a folder, for all architectures",
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			var only string
			if len(args) > 0 {
				only = args[0]
			}
			return b.run(command, only)
		},
	}
	build.Flags().StringVar(&b.to, "to", b.to, "the `folder` for the images, below the repository if relative")
	build.Flags().StringVar(&b.version, "version", "", "the `release`: v1.2.3; by default devel- and the commit")
	build.Flags().StringSliceVar(&b.architectures, "architecture", images.Architectures(), "an `architecture`; may be repeated")
	return build
}

func (b building) run(command *cobra.Command, only string) (err error) {
	definitions, err := images.Find(only)
	if err != nil {
		return err
	}
	root, err := root()
	if err != nil {
		return err
	}
	version, err := images.VersionOf(command.Context(), root, b.version)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(b.to) {
		b.to = filepath.Join(root, b.to)
	}
	if err := os.MkdirAll(b.to, 0o755); err != nil {
		return fmt.Errorf("make the folder for images: %w", err)
	}
	work, err := os.MkdirTemp("", "fairway-images-")
	if err != nil {
		return fmt.Errorf("make a folder for programs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	builder := images.NewBuilder(root, images.Cache(root), work, version)
	for _, definition := range definitions {
		if err := builder.Dist(command.Context(), definition, b.architectures, b.to, sayTo(command)); err != nil {
			return err
		}
	}
	return builder.Forget(time.Now())
}
