package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/test/lab"
)

func upCommand(name *string) *cobra.Command {
	var options lab.Options
	var families string
	command := &cobra.Command{
		Use:   "up",
		Short: "Start a lab, after removing the remains of dead labs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Name, options.Progress = *name, cmd.OutOrStdout()
			options.Families = lab.Families(families)
			return up(cmd, options)
		},
	}
	flags := command.Flags()
	flags.IntVar(&options.Nodes, "nodes", 2, "number of nodes, 1 to 5")
	flags.IntVar(&options.Fabrics, "fabrics", 1, "number of fabrics: 1, or 2 with a router between them")
	flags.StringVar(&families, "families", string(lab.IPv4), "ipv4, ipv6 or dual")
	flags.IntVar(&options.MTU, "mtu", 1500, "MTU of all links")
	flags.BoolVar(&options.ReferenceNetwork, "reference-network", false, "give pods a network: the plugins ptp and host-local, and static routes")
	flags.BoolVar(&options.KubeProxy, "kube-proxy", false, "make Services work: kube-proxy with nftables")
	flags.BoolVar(&options.CoreDNS, "coredns", false, "cluster DNS: CoreDNS as it comes; needs the two above")
	flags.BoolVar(&options.DNS, "dns", false, "cluster DNS of Fairway, in place of --coredns")
	flags.StringArrayVar(&options.Images, "image", nil, "an image's file, for every node")
	flags.StringVar((*string)(&options.Fairway), "fairway", "", "install Fairway, built from this tree, by Helm: ingress (needs the three above), network (in place of the reference network, and without --kube-proxy in place of that), services (on the reference network) or everything")
	flags.Lookup("fairway").NoOptDefVal = string(lab.Ingress)
	flags.BoolVar(&options.FairwayImages, "fairway-images", false, "only give every node the images of Fairway")
	return command
}

// up starts the lab unless it runs already.
func up(cmd *cobra.Command, options lab.Options) error {
	if running, err := lab.Attach(options.Name); err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "lab %s runs already; `lab down` ends it\nexport KUBECONFIG=%s\n", options.Name, running.Kubeconfig)
		return nil
	}
	l, err := lab.Up(cmd.Context(), options)
	if errors.Is(err, lab.ErrRuns) {
		return fmt.Errorf("%w: another process is starting or ending it", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", l.Kubeconfig)
	return nil
}

func downCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End a lab at once, and remove all of it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return lab.Down(cmd.Context(), *name) },
	}
}
