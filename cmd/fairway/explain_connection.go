package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/inspect/connection"
)

func (s *explainSettings) bindConnection(flags *pflag.FlagSet) {
	flags.StringVar(&s.From, "from", s.From, "`namespace/pod` that connects to something, instead of a request for a URL")
	flags.StringVar(&s.To, "to", s.To, "`host:port` that the pod connects to: an address, NAMESPACE/POD or a Service; with /udp or /sctp behind it for these")
}

// connection reads the question of --from and --to.
func (s *explainSettings) connection(flags *pflag.FlagSet, args []string) (connection.Question, error) {
	var q connection.Question
	if s.From == "" || s.To == "" {
		return q, errors.New("--from and --to belong together: say which pod connects to what")
	}
	if len(args) > 0 {
		return q, errors.New("give a URL, or --from and --to")
	}
	for _, flag := range []string{"filename", "gateway", "class", "controller-value", "method", "header"} {
		if flags.Changed(flag) {
			return q, fmt.Errorf("--%s is for URLs: leave it out with --from and --to", flag)
		}
	}
	var from, to error
	if q.From, from = podNamed(s.From, ""); from != nil {
		from = fmt.Errorf("--from: %w", from)
	}
	if q.To, to = connection.ParseTarget(s.To); to != nil {
		to = fmt.Errorf("--to: %w", to)
	}
	return q, errors.Join(from, to, s.Output.validate())
}

func (s *explainSettings) runConnection(ctx context.Context, question connection.Question, std streams) error {
	ctrllog.SetLogger(logr.Discard())
	reader, err := s.Cluster.reader()
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	said, err := connection.FromCluster(ctx, question, reader)
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	if err := s.Output.write(std.Out, said, said.Text); err != nil {
		return err
	}
	if said.End != connection.Allowed {
		return exit{code: exitUnserved}
	}
	return nil
}
