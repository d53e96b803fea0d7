package deployments

import (
	"context"
	"encoding/json"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/provider"
)

// states answers reference() and list*() as the caller: what the caller may not
// read, the template may not either.
type states struct {
	ctx    context.Context //nolint:containedctx // one evaluation
	client provider.Client
}

func (s states) at(version string) provider.Client {
	c := s.client
	if arm.ValidAPIVersion(version) {
		c.APIVersion = version
	}
	return c
}

// Reference implements template.Runtime.
func (s states) Reference(id arm.ID, version string) (value.Value, error) {
	raw, err := s.at(version).Get(s.ctx, id)
	if err != nil {
		return value.Value{}, err
	}
	return value.ParseResource(string(arm.Remove(raw, "systemData")))
}

// List implements template.Runtime.
func (s states) List(function string, id arm.ID, version string, parameters value.Value) (value.Value, error) {
	var body any
	if !parameters.IsNothing() {
		body = json.RawMessage(parameters.JSON())
	}
	raw, err := s.at(version).Post(s.ctx, id, function, body)
	if err != nil {
		return value.Value{}, err
	}
	return value.ParseResource(string(raw))
}
