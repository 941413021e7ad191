package main

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/inspect/overview"
)

// exitUnhealthy is the exit code of status if something needs attention.
const exitUnhealthy = 1

// overviewSettings are the settings of fairway status.
type overviewSettings struct {
	Cluster   kubeconfig
	Output    outputFormat
	Namespace string
	Choice    overview.Choice
}

func statusCommand(std streams) *cobra.Command {
	s := &overviewSettings{Output: outputText}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what Fairway does in a cluster, and what is wrong",
		Long: `Status shows the controllers of a cluster, its gateways with their Envoys, what
has become of each Ingress, the nodes of the pod network, the addresses of load
balancers, the cluster's DNS, and all Problems. It reads the cluster as you may,
and talks to no controller.

Exit code: 0 when every Ingress is served and nothing is wrong, 1 when something
is, 2 when the cluster could not be read.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.Output.validate(); err != nil {
				return usage(err)
			}
			if err := checkControllerValue(s.Choice.Controller); err != nil {
				return err
			}
			return s.run(cmd.Context(), std)
		},
	}
	flags := cmd.Flags()
	s.Cluster.bind(flags)
	s.Output.bind(flags)
	flags.StringVarP(&s.Namespace, "namespace", "n", s.Namespace, "show Ingresses and Problems of this `namespace` only")
	flags.StringVar(&s.Choice.Installation, "installation", s.Choice.Installation, "show only the installation of this `name`, or of namespace/name")
	bindControllerValue(flags, &s.Choice.Controller)
	cmd.AddCommand(statusPolicyCommand(std))
	return cmd
}

func (s *overviewSettings) run(ctx context.Context, std streams) error {
	ctrllog.SetLogger(logr.Discard())
	reader, err := s.Cluster.reader()
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	seen, err := overview.Of(ctx, reader, s.Choice, time.Now())
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	if s.Namespace != "" {
		seen.Only(s.Namespace)
	}
	report := seen.Report()
	if err := s.Output.write(std.Out, report, report.Text); err != nil {
		return err
	}
	if !seen.Healthy() {
		return exit{code: exitUnhealthy}
	}
	return nil
}
