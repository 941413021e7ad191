package main

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
)

// onlyErrors drops all log entries except errors.
func onlyErrors(log logr.Logger) logr.Logger {
	return logr.FromSlogHandler(errorsOnly{logr.ToSlogHandler(log)})
}

type errorsOnly struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h errorsOnly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError && h.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h errorsOnly) WithAttrs(attributes []slog.Attr) slog.Handler {
	return errorsOnly{h.Handler.WithAttrs(attributes)}
}

// WithGroup implements slog.Handler.
func (h errorsOnly) WithGroup(name string) slog.Handler { return errorsOnly{h.Handler.WithGroup(name)} }
