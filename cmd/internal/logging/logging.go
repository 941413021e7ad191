// Package logging makes the log of a process, as its flags ask.
//
// It does not know what is logged. Its invariant: every entry is one line, of text or of
// JSON.
package logging

import (
	"context"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

// The formats.
const (
	Text = "text"
	JSON = "json"
)

// New returns a log that writes lines of a format. It drops entries above verbosity.
func New(to io.Writer, format string, verbosity int) logr.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(-verbosity)}
	if format == JSON {
		return logr.FromSlogHandler(slog.NewJSONHandler(to, options))
	}
	return logr.FromSlogHandler(slog.NewTextHandler(to, options))
}

// OnlyErrors drops all log entries except errors.
func OnlyErrors(log logr.Logger) logr.Logger {
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
