package main

import (
	"errors"
	"fmt"
	"io"

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
	flags.BoolVar(&options.Shop, "shop", false, "a sample shop behind an Ingress, with a certificate from an ACME server outside of the cluster; needs --fairway=everything")
	flags.BoolVar(&options.FairwayImages, "fairway-images", false, "only give every node the images of Fairway")
	return command
}

// up starts the lab unless it runs already.
func up(cmd *cobra.Command, options lab.Options) error {
	if running, err := lab.Attach(options.Name); err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "lab %s runs already; `lab down` ends it\n", options.Name)
		tour(cmd.OutOrStdout(), running)
		return nil
	}
	l, err := lab.Up(cmd.Context(), options)
	if errors.Is(err, lab.ErrRuns) {
		return fmt.Errorf("%w: another process is starting or ending it", err)
	}
	if err != nil {
		return err
	}
	tour(cmd.OutOrStdout(), l)
	return nil
}

// tour says how to reach a lab, and, of one with a shop, what it has and what to look at.
func tour(to io.Writer, l *lab.Lab) {
	if !l.Options.Shop {
		fmt.Fprintf(to, "export KUBECONFIG=%s\n", l.Kubeconfig)
		return
	}
	program := "bin/lab"
	if l.Options.Name != "lab" {
		program += " --name " + l.Options.Name
	}
	fmt.Fprintf(to, `
The cluster has Fairway's network, Services, policies, DNS, load balancer, gateways and controllers, by one
"helm install". Behind the Ingress of namespace shop are the Services shop and cart. An ACME server outside of the
cluster gave https://%[2]s its certificate. The machine "client" is outside, too: it knows the nodes' link, and nothing
behind it.

Ask the shop, which says which pod answered and whom it saw:
  %[1]s exec client curl --cacert %[3]s https://%[2]s/
  %[1]s exec client curl --cacert %[3]s https://%[2]s/cart
  %[1]s exec client curl -i http://%[2]s/

Look at what made it:
  export KUBECONFIG=%[4]s
  %[1]s kubectl get ingress,services,networkpolicies -A
  bin/fairway status
  bin/fairway explain https://%[2]s/cart
  bin/fairway status policy shop/$(%[1]s kubectl get pods -n shop -l app=cart -o 'jsonpath={.items[0].metadata.name}')

Break it, and ask again:
  %[1]s kubectl -n kube-system delete pods -l app.kubernetes.io/component=node
  %[1]s reboot n2
  %[1]s kubectl -n shop rollout restart deployment/shop

"%[1]s down" ends all of it, and removes it.
`, program, lab.ShopHost, lab.ShopRoots, l.Kubeconfig)
}

func downCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End a lab at once, and remove all of it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return lab.Down(cmd.Context(), *name) },
	}
}
