package main

import (
	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/images"
)

func fetchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "fetch", Short: "Fetch what the images hold, for all architectures, unless it is there",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			root, err := root()
			if err != nil {
				return err
			}
			return images.NewBuilder(root, images.Cache(root), "", images.Version{}).Fetch(command.Context())
		},
	}
}
