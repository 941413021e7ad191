package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/inspect/explain"
	"github.com/fairwaynet/fairway/xds/route"
)

// exitUnserved is the exit code of explain if no backend answers.
const exitUnserved = 1

// explainSettings are the settings of fairway explain.
type explainSettings struct {
	Cluster kubeconfig
	Files   []string
	Output  outputFormat
	Gateway string
	Class   string
	Value   route.Controller // of --controller-value; empty: any of Fairway's
	Method  string
	Headers []string
	From    string // of --from: a pod that connects to something
	To      string
}

func explainCommand(std streams) *cobra.Command {
	s := &explainSettings{Output: outputText, Method: "GET"}
	cmd := &cobra.Command{
		Use:   "explain URL | --from NAMESPACE/POD --to HOST:PORT",
		Short: "Say what becomes of a request or of a pod's connection, and why",
		Long: `Explain follows a request for a URL through a gateway: listener, certificate,
path, host, route and why that one, backend and its endpoints; and where it ends. It reads
the cluster as you may, or with -f files, and asks neither controller nor Envoy.

With --from and --to it says whether NetworkPolicies and ClusterNetworkPolicies let a
pod connect, and which decide: to an address, to a pod (NAMESPACE/POD), or to a
Service (NAME.NAMESPACE).

Exit code: 0 when a backend answers or the connection is allowed, 1 when none does
or it is not, 2 when nothing could be explained.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.From != "" || s.To != "" {
				question, err := s.connection(cmd.Flags(), args)
				if err != nil {
					return usage(err)
				}
				return s.runConnection(cmd.Context(), question, std)
			}
			if err := wants("one URL", cobra.ExactArgs(1))(cmd, args); err != nil {
				return err
			}
			question, err := s.question(args[0])
			if err != nil {
				return usage(err)
			}
			return s.run(cmd.Context(), question, std)
		},
	}
	flags := cmd.Flags()
	s.Cluster.bind(flags)
	flags.StringArrayVarP(&s.Files, "filename", "f", nil, "`file` or folder to read instead of a cluster; - is standard input")
	s.Output.bind(flags)
	flags.StringVar(&s.Gateway, "gateway", s.Gateway, "`name` of the gateway to follow the request through; by default the one that serves the host")
	flags.StringVar(&s.Class, "class", s.Class, "`name` of the IngressClass whose gateway to follow the request through")
	bindControllerValue(flags, &s.Value)
	flags.StringVarP(&s.Method, "method", "X", s.Method, "`method` of the request")
	flags.StringArrayVarP(&s.Headers, "header", "H", nil, "header of the request, as `\"Name: value\"`; Host and Content-Length matter")
	s.bindConnection(flags)
	return cmd
}

func (s *explainSettings) question(url string) (explain.Question, error) {
	request, err := explain.ParseURL(url)
	if err != nil {
		return explain.Question{}, err
	}
	for _, header := range s.Headers {
		if err := request.AddHeader(header); err != nil {
			return explain.Question{}, err
		}
	}
	request.Method = s.Method
	if err := errors.Join(s.Output.validate(), checkControllerValue(s.Value)); err != nil {
		return explain.Question{}, err
	}
	switch {
	case s.Gateway != "" && s.Class != "":
		return explain.Question{}, fmt.Errorf("give --gateway or --class, not both")
	case len(s.Files) > 0 && (s.Cluster.Path != "" || s.Cluster.Context != ""):
		return explain.Question{}, fmt.Errorf("-f reads files instead of a cluster: leave out --kubeconfig and --context")
	}
	question := explain.Question{Request: request, Gateway: route.Gateway(s.Gateway), Class: s.Class}
	if s.Value != "" {
		question.Only = []route.Controller{s.Value}
	}
	return question, nil
}

func (s *explainSettings) run(ctx context.Context, question explain.Question, std streams) error {
	ctrllog.SetLogger(logr.Discard())
	said, err := s.answer(ctx, question, std.In)
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	if err := s.Output.write(std.Out, said, said.Text); err != nil {
		return err
	}
	if !said.Served() {
		return exit{code: exitUnserved}
	}
	return nil
}

// answer answers the question from the files or from the cluster.
func (s *explainSettings) answer(ctx context.Context, question explain.Question, stdin io.Reader) (explain.Answer, error) {
	if len(s.Files) > 0 {
		return explain.FromFiles(ctx, question, s.Files, stdin)
	}
	reader, err := s.Cluster.reader()
	if err != nil {
		return explain.Answer{}, err
	}
	return explain.FromCluster(ctx, question, reader)
}
