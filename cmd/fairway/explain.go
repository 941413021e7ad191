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
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/explain"
	"github.com/fairwaynet/fairway/controllers/inspect/overview"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// exitUnserved is the exit code of explain if no backend answers.
const exitUnserved = 1

// explainSettings are the settings of fairway explain.
type explainSettings struct {
	Cluster kubeconfig
	Files   []string
	Output  string
	Gateway string
	Class   string
	Method  string
	Headers []string
}

func explainCommand(std streams) *cobra.Command {
	s := &explainSettings{Output: "text", Method: "GET"}
	cmd := &cobra.Command{
		Use:   "explain URL",
		Short: "Say what becomes of a request, and why",
		Long: `Explain follows a request for a URL through a gateway: listener, certificate,
path, host, route and why that one, backend and its endpoints; and where it ends. It reads
the cluster as you may, or with -f files, and asks neither controller nor Envoy.

Exit code: 0 when a backend answers, 1 when none does, 2 when nothing could be
explained.`,
		Args: wants("one URL", cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
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
	flags.StringVarP(&s.Output, "output", "o", s.Output, "text or json")
	flags.StringVar(&s.Gateway, "gateway", s.Gateway, "`name` of the gateway to follow the request through; by default the one that serves the host")
	flags.StringVar(&s.Class, "class", s.Class, "`name` of the IngressClass whose gateway to follow the request through")
	flags.StringVarP(&s.Method, "method", "X", s.Method, "`method` of the request")
	flags.StringArrayVarP(&s.Headers, "header", "H", nil, "header of the request, as `\"Name: value\"`; Host and Content-Length matter")
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
	switch {
	case s.Output != "text" && s.Output != "json":
		return explain.Question{}, fmt.Errorf("--output: %q is neither text nor json", s.Output)
	case s.Gateway != "" && s.Class != "":
		return explain.Question{}, fmt.Errorf("give --gateway or --class, not both")
	case len(s.Files) > 0 && (s.Cluster.Path != "" || s.Cluster.Context != ""):
		return explain.Question{}, fmt.Errorf("-f reads files instead of a cluster: leave out --kubeconfig and --context")
	}
	return explain.Question{Request: request, Gateway: route.Gateway(s.Gateway), Class: s.Class}, nil
}

func (s *explainSettings) run(ctx context.Context, question explain.Question, std streams) error {
	ctrllog.SetLogger(logr.Discard())
	said, locate, err := s.explain(ctx, question, std.In)
	if err != nil {
		return exit{code: exitUsage, cause: err}
	}
	if err := s.print(std.Out, said, locate); err != nil {
		return exit{code: exitUsage, cause: fmt.Errorf("write: %w", err)}
	}
	if !said.Served() {
		return exit{code: exitUnserved}
	}
	return nil
}

// locator finds the place of a Problem in the files.
type locator func(problem.Problem) (folder.Place, bool)

// explain answers the question from the files or from the cluster.
func (s *explainSettings) explain(ctx context.Context, question explain.Question, stdin io.Reader) (*explain.Explanation, locator, error) {
	if len(s.Files) > 0 {
		files, err := folder.New(folder.Options{Paths: s.Files, Stdin: stdin})
		if err != nil {
			return nil, nil, err
		}
		said, err := explainObjects(ctx, files, index.Scope{ClaimWithoutClasses: true}, question, true)
		if err != nil {
			return nil, nil, err
		}
		said.Problems = slices.Concat(files.Problems(), said.Problems)
		return said, files.Locate, nil
	}
	reader, err := s.Cluster.reader()
	if err != nil {
		return nil, nil, err
	}
	found, err := explain.Gather(ctx, reader, question.Request)
	if err != nil {
		return nil, nil, err
	}
	objects, err := folder.Fixed(found.Objects)
	if err != nil {
		return nil, nil, err
	}
	question.MissingSecrets = found.MissingSecrets
	said, err := explainObjects(ctx, objects, index.Scope{}, question, false)
	if err != nil {
		return nil, nil, err
	}
	return said, objects.Locate, addServing(ctx, reader, said, found.Objects)
}

func explainObjects(
	ctx context.Context, objects *folder.Cache, scope index.Scope, question explain.Question, localEndpoints bool,
) (*explain.Explanation, error) {
	var said *explain.Explanation
	err := snapshot.Take(ctx, objects, scope, func(ctx context.Context, controllers *edge.Controllers) (err error) {
		controllers.LocalEndpoints = localEndpoints
		said, err = explain.Explain(ctx, controllers, question)
		return err
	})
	return said, err
}

// addServing adds whether Envoys already serve the Ingress of the route.
func addServing(ctx context.Context, reader snapshot.Reader, said *explain.Explanation, objects []client.Object) error {
	if said.Route == nil {
		return nil
	}
	replicas, err := overview.ReplicasOf(ctx, reader, time.Now())
	if err != nil {
		return err
	}
	for _, object := range objects {
		ing, ok := object.(*networkingv1.Ingress)
		if !ok || ing.Namespace+"/"+ing.Name != said.Route.Ingress {
			continue
		}
		gateway := route.Gateway(said.Gateway)
		state, why := replicas.StateOf(ing, gateway)
		if state == overview.Unknown {
			continue
		}
		envoys, _ := replicas.EnvoysOf(gateway)
		said.Serving = &explain.Serving{Envoys: envoys, State: string(state), Why: why}
	}
	return nil
}

// print writes an explanation, followed by the Problems found on the way.
func (s *explainSettings) print(out io.Writer, said *explain.Explanation, locate locator) error {
	found := []check.Finding{}
	for _, p := range said.Problems {
		found = append(found, check.FindingOf(locate, p))
	}
	if s.Output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(struct {
			*explain.Explanation
			Problems []check.Finding `json:"problems"`
		}{said, found})
	}
	if _, err := io.WriteString(out, said.Text()); err != nil {
		return err
	}
	if len(found) > 0 {
		if _, err := fmt.Fprintf(out, "\nProblems on the way:\n"); err != nil {
			return err
		}
	}
	for _, f := range found {
		if _, err := fmt.Fprintf(out, "  %s\n", f); err != nil {
			return err
		}
	}
	return nil
}
