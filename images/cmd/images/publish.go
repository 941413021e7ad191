package main

import (
	"fmt"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/images"
	"github.com/fairwaynet/fairway/images/oci"
)

// publishing are the flags of "images publish".
type publishing struct {
	from, registry, chart string
	publisher             oci.Publisher
}

func publishCommand() *cobra.Command {
	p := publishing{from: "dist"}
	publish := &cobra.Command{
		Use: "publish --registry HOST/FOLDER", Short: "Push the images that were built, and the chart, to a registry",
		Long: `Push the images that were built to a registry, with all architectures under one tag.
Log in first (docker login). A tag that exists with another content is refused. A run
that was interrupted can be repeated.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return p.run(command) },
	}
	flags := publish.Flags()
	flags.StringVar(&p.from, "from", p.from, "the `folder` with the images, below the repository if relative")
	flags.StringVar(&p.registry, "registry", "", "the registry and the folder in it, such as "+images.Registry)
	flags.StringVar(&p.chart, "chart", "", "a chart, as a `file` of helm package; it goes to charts/NAME of the registry")
	flags.BoolVar(&p.publisher.Overwrite, "overwrite", false, "replace a tag that has another content")
	flags.BoolVar(&p.publisher.PlainHTTP, "plain-http", false, "speak to the registry without TLS")
	_ = publish.MarkFlagRequired("registry") // fails for unknown names only
	return publish
}

func (p publishing) run(command *cobra.Command) error {
	if !filepath.IsAbs(p.from) {
		root, err := root()
		if err != nil {
			return err
		}
		p.from = filepath.Join(root, p.from)
	}
	var artifacts []oci.Artifact
	for _, definition := range images.All() {
		index, err := oci.ReadLayout(filepath.Join(p.from, definition.Name))
		if err != nil {
			return fmt.Errorf("%w: build it first (make images)", err)
		}
		artifacts = append(artifacts, index.In(path.Join(p.registry, definition.Name)))
	}
	if p.chart != "" {
		chart, err := oci.Chart(p.chart, path.Join(p.registry, "charts"))
		if err != nil {
			return err
		}
		artifacts = append(artifacts, chart)
	}
	p.publisher.Say = sayTo(command)
	return p.publisher.Publish(command.Context(), artifacts...)
}
