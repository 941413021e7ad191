package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/overview"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
)

// exitUnhealthy is the exit code of status if something needs attention.
const exitUnhealthy = 1

// overviewSettings are the settings of fairway status.
type overviewSettings struct {
	Cluster   kubeconfig
	Output    string
	Namespace string
}

func statusCommand(std streams) *cobra.Command {
	s := &overviewSettings{Output: "text"}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what Fairway does in a cluster, and what is wrong",
		Long: `Status shows the controllers of a cluster, its gateways with their Envoys, what
has become of each Ingress, and all Problems. It reads the cluster as you may,
and talks to no controller.

Exit code: 0 when every Ingress is served and nothing is wrong, 1 when something
is, 2 when the cluster could not be read.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.Output != "text" && s.Output != "json" {
				return usage(fmt.Errorf("--output: %q is neither text nor json", s.Output))
			}
			return s.run(cmd.Context(), std)
		},
	}
	flags := cmd.Flags()
	s.Cluster.bind(flags)
	flags.StringVarP(&s.Output, "output", "o", s.Output, "text or json")
	flags.StringVarP(&s.Namespace, "namespace", "n", s.Namespace, "show Ingresses and Problems of this `namespace` only")
	return cmd
}

func (s *overviewSettings) run(ctx context.Context, std streams) error {
	ctrllog.SetLogger(logr.Discard())
	reader, err := s.Cluster.reader()
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	seen, err := overview.Of(ctx, reader, time.Now())
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	if s.Namespace != "" {
		seen.Only(s.Namespace)
	}
	if err := s.print(std.Out, seen); err != nil {
		return exit{code: exitUsage, cause: fmt.Errorf("write: %w", err)}
	}
	if !seen.Healthy() {
		return exit{code: exitUnhealthy}
	}
	return nil
}

func (s *overviewSettings) print(out io.Writer, seen *overview.Overview) error {
	nowhere := func(problem.Problem) (folder.Place, bool) { return folder.Place{}, false }
	found := []check.Finding{}
	for _, p := range seen.Problems {
		found = append(found, check.FindingOf(nowhere, p))
	}
	if s.Output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(struct {
			*overview.Overview
			Problems []check.Finding `json:"problems"`
		}{seen, found})
	}
	text := seen.Text()
	if len(found) > 0 {
		text += "\nProblems:\n"
	}
	for _, f := range found {
		text += fmt.Sprintf("  %s\n", f)
	}
	served := len(slices.DeleteFunc(slices.Clone(seen.Ingresses), func(i overview.Ingress) bool { return i.State != overview.Served }))
	text += fmt.Sprintf("\n%s, %d served; %s\n", countOf(len(seen.Ingresses), "Ingress", "Ingresses"), served, wording.Count(len(found), "problem"))
	_, err := io.WriteString(out, text)
	return err
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
