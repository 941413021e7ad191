package node

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/node/ranges"
	"github.com/fairwaynet/fairway/controllers/objects/report"
)

// ReasonMended says that somebody else changed the pod network, and that it was put back.
const ReasonMended problem.Reason = "NetworkRestored"

// OwnEvents writes events on this node's Node, and on Services. What is wrong with another
// node is in the log and metrics: each agent of a large cluster sees it. What only the leader
// finds is an event on any Node. What is wrong with a Service is found by one node of the
// cluster, or it is that node's alone.
type OwnEvents struct {
	Name   string
	Events report.Events
}

// Appeared implements report.Subscriber.
func (o OwnEvents) Appeared(ctx context.Context, p problem.Problem) {
	if p.Object.Kind != "Node" || p.Object.Name.Name == o.Name || ranges.ToldByLeader(p) {
		o.Events.Appeared(ctx, p)
	}
}

// Resolved implements report.Subscriber.
func (o OwnEvents) Resolved(context.Context, problem.Problem) {}

// Mended implements Told.
func (o OwnEvents) Mended(ctx context.Context, what string) {
	o.Events.Appeared(ctx, problem.Problem{
		Object: problem.Object{Kind: "Node", Name: types.NamespacedName{Name: o.Name}}, Reason: ReasonMended,
		Message: "somebody else changed the pod network of this node, and it was put back: " + what,
	})
}
