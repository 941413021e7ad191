package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/test/lab"
	"github.com/fairwaynet/fairway/test/lab/e2e"
)

// pool has addresses of the lab's link.
const pool = `
apiVersion: fairway.dev/v1alpha1
kind: AddressPool
metadata: {name: lab}
spec: {addresses: [172.30.0.220-172.30.0.249, "fd00:30::e0-fd00:30::ff"]}
`

func e2eCommand(name *string) *cobra.Command {
	var focus, skip string
	var processes int
	options := lab.Options{Fairway: lab.Network}
	var reference, everything bool
	command := &cobra.Command{
		Use:   "e2e",
		Short: "Run Kubernetes' own end-to-end tests in a lab of their own",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			folder, err := os.MkdirTemp("", "lab-e2e-")
			if err != nil {
				return fmt.Errorf("make folder: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
			options.Name, options.Progress = *name, cmd.OutOrStdout()
			if reference {
				options.Fairway, options.ReferenceNetwork, options.KubeProxy = "", true, true
			}
			if everything {
				options.Fairway = lab.Everything
			}
			options.DNS, options.CoreDNS = !reference, reference
			if options.Images, err = e2e.Images(cmd.Context(), folder); err != nil {
				return err
			}
			l, err := lab.Up(cmd.Context(), options)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, l.Down()) }()
			if everything {
				if _, err := l.TryKubectl(cmd.Context(), pool, "apply", "-f", "-"); err != nil {
					return err
				}
			}
			return e2e.Run(cmd.Context(), l, focus, skip, processes, cmd.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVar(&focus, "focus", `\[sig-network\].*\[Conformance\]`, "regular expression of the tests to run")
	flags.StringVar(&skip, "skip", `\[(Serial|Slow|Disruptive|Feature:.*)\]`, "regular expression of the tests to skip among them")
	flags.BoolVar(&reference, "reference", false, "on the reference network with kube-proxy and CoreDNS as it comes, in place of Fairway's network, Services and DNS")
	flags.BoolVar(&everything, "everything", false, "on all of Fairway, as the chart installs it, with addresses for load balancers")
	flags.StringVar((*string)(&options.Families), "families", string(lab.IPv4), "ipv4, ipv6 or dual")
	flags.IntVar(&processes, "processes", 4, "number of tests at a time")
	flags.IntVar(&options.Nodes, "nodes", 2, "number of nodes")
	return command
}
