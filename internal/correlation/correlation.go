// Package correlation carries a request's correlation id in its context, and puts it
// into every log line that is written with that context: of the request itself, of the
// requests it makes inside, and of the controllers that carry out what it asked for.
//
// It knows neither requests nor resources. frontdoor, provider and cmd import it.
package correlation

import (
	"context"
	"log/slog"
)

// Attribute is the name of the id in log lines.
const Attribute = "correlationId"

type key struct{}

// With is ctx with an id; "" changes nothing.
func With(ctx context.Context, id string) context.Context {
	if id == "" {
		return ctx
	}
	return context.WithValue(ctx, key{}, id)
}

// ID is the id in ctx, or "".
func ID(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Handler adds the id to the lines that next writes, once however often it is wrapped.
func Handler(next slog.Handler) slog.Handler {
	if _, already := next.(handler); already {
		return next
	}
	return handler{next}
}

type handler struct{ slog.Handler }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if id := ID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String(Attribute, id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
