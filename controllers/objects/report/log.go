package report

import (
	"context"
	"strings"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/api/problem"
)

// Log is a Subscriber that writes one line for each change.
type Log struct{ Log logr.Logger }

// Appeared implements Subscriber.
func (l Log) Appeared(_ context.Context, p problem.Problem) {
	l.Log.Info("problem appeared", pairs(p)...)
}

// Resolved implements Subscriber.
func (l Log) Resolved(_ context.Context, p problem.Problem) {
	l.Log.Info("problem resolved", pairs(p)...)
}

func pairs(p problem.Problem) []any {
	return []any{
		"kind", p.Object.Kind, "object", strings.TrimPrefix(p.Object.Name.String(), "/"),
		"field", p.Field, "reason", string(p.Reason), "problem", p.Message,
	}
}
