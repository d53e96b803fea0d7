package policyinsights

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// What a what-if is asked with unless it says otherwise, and what it may ask for.
const (
	defaultTeamTag  = "team"
	defaultExamples = 3
	maxExamples     = 100
	maxSupposed     = 1001 // an initiative and Azure's limit of policies in it
)

type whatIfRequest struct {
	Assignment  json.RawMessage
	Definitions []json.RawMessage
	TeamTag     string
	Examples    *int
}

// whatIf serves POST …/Hallmark.Compliance/whatIf: what an assignment at the scope would
// flag, deny and change, before it is made.
func (cfg Config) whatIf(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	var r whatIfRequest
	if err := json.Unmarshal(c.Request.Body, &r); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "%v", err)
	}
	ask, err := r.read(c.Scope, func(id string) json.RawMessage { return stored(ctx, c, id) })
	if err != nil {
		return nil, err
	}
	answer, err := cfg.Engine.WhatIf(ctx, ask)
	if err != nil {
		return nil, err
	}
	return provider.JSON(200, answer)
}

// stored is a definition as the caller may read it; nil without one, which the
// evaluation then says.
func stored(ctx context.Context, c *provider.Call, text string) json.RawMessage {
	id, err := arm.ParseID(text)
	if err != nil {
		return nil
	}
	body, err := c.Client.Get(ctx, id)
	if err != nil {
		return nil
	}
	return body
}

// read checks everything that a request says, and reports all that is wrong at once.
func (r *whatIfRequest) read(scope arm.ID, stored func(id string) json.RawMessage) (out compliance.WhatIfRequest, err error) {
	var errs []*arm.Error
	bad := func(target, format string, args ...any) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, target, format, args...))
	}
	out = compliance.WhatIfRequest{TeamTag: cmp.Or(r.TeamTag, defaultTeamTag), Examples: defaultExamples}
	if r.Examples != nil {
		if out.Examples = *r.Examples; out.Examples < 0 || out.Examples > maxExamples {
			bad("examples", "examples is %d; it must be 0 to %d.", out.Examples, maxExamples)
		}
	}
	if len(r.Definitions) > maxSupposed {
		return out, arm.BadRequest(arm.CodeInvalidParameter, "definitions", "There are %d definitions; at most %d are possible.", len(r.Definitions), maxSupposed)
	}
	for i, body := range r.Definitions {
		d, problems := supposed(body, fmt.Sprintf("definitions[%d]", i), scope)
		errs = append(errs, problems...)
		if len(problems) == 0 {
			out.Definitions = append(out.Definitions, d)
		}
	}
	spec, err := assignment.ReadSpec(r.Assignment)
	switch {
	case len(r.Assignment) == 0:
		bad("assignment", "The request has no assignment: an object as Microsoft.Authorization/policyAssignments has it.")
	case err != nil:
		bad("assignment.properties", "%v", err)
	case spec.PolicyDefinitionID == "":
		bad("assignment.properties.policyDefinitionId", "The assignment names no definition or initiative.")
	default:
		errs = append(errs, parameters(spec, out.Definitions, stored)...)
	}
	if err := arm.Join(errs); err != nil {
		return out, err
	}
	id := scope.Resource(assignment.TypeAssignment, cmp.Or(validName(arm.GetString(r.Assignment, "name")), "what-if"))
	out.Assignment = &store.Document{ID: id.String(), Key: id.Key(), Type: assignment.TypeAssignment, Body: r.Assignment,
		Location: arm.NormalLocation(arm.GetString(r.Assignment, "location"))}
	return out, nil
}

// validName is a name that can stand in an id, else "".
func validName(name string) string {
	if strings.ContainsAny(name, "/?#%\\") {
		return ""
	}
	return name
}

// supposed is a definition or initiative of the request, where its id says or else at
// the scope.
func supposed(body json.RawMessage, at string, scope arm.ID) (*store.Document, []*arm.Error) {
	typ := assignment.TypeDefinition
	_, isSet := arm.Get(body, "properties.policyDefinitions")
	var err error
	if isSet {
		typ = assignment.TypeInitiative
		_, err = policy.ParseInitiative(string(body))
	} else {
		_, err = policy.ParseDefinition(string(body))
	}
	if err != nil {
		return nil, problemsAt(err, at)
	}
	id, err := arm.ParseID(arm.GetString(body, "id"))
	if err != nil || !id.Type().Equal(typ) {
		name := validName(arm.GetString(body, "name"))
		if name == "" {
			return nil, []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at+".name", "The definition has neither an id nor a name.")}
		}
		id = scope.Resource(typ, name)
	}
	return &store.Document{ID: id.String(), Key: id.Key(), Type: typ, Body: body}, nil
}

func problemsAt(err error, at string) (errs []*arm.Error) {
	var ps policy.Problems
	if !errors.As(err, &ps) {
		return []*arm.Error{arm.BadRequest(string(policy.InvalidDefinition), at, "%v", err)}
	}
	for _, p := range ps {
		errs = append(errs, arm.BadRequest(string(p.Code), strings.TrimSuffix(at+"."+p.Path, "."), "%s", p.Message))
	}
	return errs
}

// parameters checks the values against what the assigned definition declares.
func parameters(spec assignment.Spec, definitions []*store.Document, stored func(id string) json.RawMessage) (errs []*arm.Error) {
	var body json.RawMessage
	for _, d := range definitions {
		if strings.EqualFold(d.ID, spec.PolicyDefinitionID) {
			body = d.Body
		}
	}
	if body == nil {
		body = stored(spec.PolicyDefinitionID)
	}
	var declared []policy.Parameter
	if set, err := policy.ParseInitiative(string(body)); err == nil {
		declared = set.Parameters
	} else if def, err := policy.ParseDefinition(string(body)); err == nil {
		declared = def.Parameters
	} else {
		return nil
	}
	for _, p := range policy.CheckParameters(declared, spec.Values()) {
		errs = append(errs, arm.BadRequest(string(p.Code), "assignment.properties."+p.Path, "%s", p.Message))
	}
	return errs
}
