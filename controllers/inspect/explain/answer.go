package explain

import (
	"context"
	"io"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/overview"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Answer is an Explanation and the Problems that were found on the way, as fairway
// explain prints them.
type Answer struct {
	*Explanation
	Problems []check.Finding `json:"problems"`
}

// Text returns the answer for people.
func (a Answer) Text() string {
	return a.Explanation.Text() + check.List("\nProblems on the way:\n", a.Problems)
}

// FromFiles answers a question from manifests. "-" is stdin.
func FromFiles(ctx context.Context, question Question, paths []string, stdin io.Reader) (Answer, error) {
	files, err := folder.New(folder.Options{Paths: paths, Stdin: stdin})
	if err != nil {
		return Answer{}, err
	}
	said, err := explainObjects(ctx, files, index.Scope{ClaimWithoutClasses: true}, question, true)
	if err != nil {
		return Answer{}, err
	}
	said.Problems = slices.Concat(files.Problems(), said.Problems)
	return Answer{said, check.FindingsOf(files.Locate, said.Problems)}, nil
}

// FromCluster answers a question from the objects of a cluster, and adds whether Envoys
// serve them already.
func FromCluster(ctx context.Context, question Question, reader snapshot.Reader) (Answer, error) {
	replicas, err := overview.ReplicasOf(ctx, reader, time.Now())
	if err != nil {
		return Answer{}, err
	}
	question.Known = map[route.Controller][]string{}
	for _, i := range replicas.Installations() {
		value := route.Controller(i.Controller)
		question.Known[value] = append(question.Known[value], i.String())
	}
	found, err := Gather(ctx, reader, question)
	if err != nil {
		return Answer{}, err
	}
	objects, err := folder.Fixed(found.Objects)
	if err != nil {
		return Answer{}, err
	}
	question.MissingSecrets = found.MissingSecrets
	said, err := explainObjects(ctx, objects, index.Scope{}, question, false)
	if err != nil {
		return Answer{}, err
	}
	addServing(replicas, said, found.Objects)
	return Answer{said, check.FindingsOf(objects.Locate, said.Problems)}, nil
}

func explainObjects(
	ctx context.Context, objects *folder.Cache, scope index.Scope, question Question, localEndpoints bool,
) (*Explanation, error) {
	var said *Explanation
	err := snapshot.Take(ctx, objects, scope, func(ctx context.Context, controllers *edge.Controllers) (err error) {
		controllers.LocalEndpoints = localEndpoints
		said, err = Explain(ctx, controllers, question)
		return err
	})
	return said, err
}

// addServing adds whether Envoys already serve the Ingress of the route.
func addServing(replicas *overview.Replicas, said *Explanation, objects []client.Object) {
	if said.Route == nil {
		return
	}
	replicas = replicas.Serving(route.Controller(said.Controller))
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
		said.Serving = &Serving{Envoys: envoys, State: string(state), Why: why}
	}
}
