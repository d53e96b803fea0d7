package batch

import (
	"errors"
	"fmt"
	"io"
	"time"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// Languages are the names of the dialects in requests and flags.
var Languages = map[string]expr.Dialect{"policy": expr.Policy, "deployment": expr.Deployment, "dsc": expr.DSC}

// Expressions reads requests {id, expression, parameters, context} and answers
// {id, value} or {id, error: {code, message, position}}. A request may name its
// language (policy, deployment, dsc); dialect holds for the others.
func Expressions(r io.Reader, w io.Writer, dialect expr.Dialect) error {
	return each(r, w, func(line string, b []byte) []byte {
		request, err := value.Parse(line)
		if err != nil {
			return appendExprError(begin(b, value.Value{}), "InvalidJson", fmt.Errorf("the request: %w", err))
		}
		b = begin(b, request.Get("id"))
		text := request.Get("expression")
		if text.Kind() != value.String {
			return appendExprError(b, "InvalidRequest", errors.New("expression is missing, or is not text"))
		}
		d := dialect
		if name := request.Get("language"); !name.IsNothing() {
			var ok bool
			if d, ok = Languages[name.Str()]; !ok {
				return appendExprError(b, "InvalidRequest", errors.New("language must be policy, deployment or dsc"))
			}
		}
		v, err := Expression(text.Str(), d, request.Get("parameters"), request.Get("context"))
		if err != nil {
			return appendExprError(b, "InvalidTemplateExpression", err)
		}
		return append(v.AppendJSON(append(b, `,"value":`...)), '}')
	})
}

// Expression evaluates one text: an expression in brackets, or a literal.
// parameters is an object of plain values; the other functions that depend on
// where an expression stands (resourceGroup, utcNow ...) read the member of their
// name in context.
func Expression(text string, d expr.Dialect, parameters, context value.Value) (value.Value, error) {
	if !expr.IsExpression(text) {
		return value.FromString(expr.Unescape(text)), nil
	}
	node, err := expr.Parse(text)
	if err != nil {
		return value.Value{}, err
	}
	p, err := expr.Compile(text, node, d, nil)
	if err != nil {
		return value.Value{}, err
	}
	return p.Eval(&expr.Env{Host: plainHost{parameters, context}})
}

// plainHost answers from plain data.
type plainHost struct{ parameters, context value.Value }

// CallHost implements expr.Host.
func (h plainHost) CallHost(name string, args []value.Value) (value.Value, error) {
	member := value.NewKey(name)
	switch member.Name {
	case "parameters", "variables":
		from := h.parameters
		if name == "variables" {
			from = h.context.Find(member)
		}
		if args[0].Kind() != value.String {
			return value.Value{}, errors.New("the name must be text")
		}
		return from.Find(value.NewKey(args[0].Str())), nil
	}
	v := h.context.Find(member)
	if v.IsUndefined() {
		return v, errors.New("the context does not say")
	}
	if name == "utcNow" && len(args) == 1 {
		t, err := time.Parse(time.RFC3339, v.Str())
		if err != nil {
			return v, errors.New("the context's utcNow is not RFC 3339")
		}
		s, err := expr.FormatTime(t, args[0].Str())
		return value.FromString(s), err
	}
	return v, nil
}

func appendExprError(b []byte, code string, err error) []byte {
	b = value.AppendQuoted(append(b, `,"error":{"code":`...), code)
	b = value.AppendQuoted(append(b, `,"message":`...), err.Error())
	var e *expr.Error
	if errors.As(err, &e) {
		b = append(b, fmt.Sprintf(`,"position":%d`, e.Offset+1)...)
	}
	return append(b, "}}"...)
}
