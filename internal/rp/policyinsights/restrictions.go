package policyinsights

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type restrictionsRequest struct {
	ResourceDetails struct {
		ResourceContent json.RawMessage
		APIVersion      string
		Scope           string
	}
	PendingFields []pendingField
}

type pendingField struct {
	Field  string
	Values []string
}

type restriction struct {
	Result string     `json:"result"` // Deny
	Values []string   `json:"values"`
	Policy policyInfo `json:"policy"`
	Reason string     `json:"reason,omitempty"`
}

type policyInfo struct {
	PolicyAssignmentID          string `json:"policyAssignmentId"`
	PolicyDefinitionID          string `json:"policyDefinitionId"`
	PolicySetDefinitionID       string `json:"policySetDefinitionId,omitempty"`
	PolicyDefinitionReferenceID string `json:"policyDefinitionReferenceId,omitempty"`
}

func infoOf(u *assignment.Unit) policyInfo {
	i := policyInfo{PolicyAssignmentID: u.Assignment.ID.String(), PolicyDefinitionID: u.DefinitionID, PolicyDefinitionReferenceID: u.ReferenceID}
	if u.Assignment.Initiative {
		i.PolicySetDefinitionID = u.Assignment.Definition.String()
	}
	return i
}

// checkRestrictions serves …/checkPolicyRestrictions: what the policies would say
// about a resource before anybody creates it.
func (cfg Config) checkRestrictions(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	var r restrictionsRequest
	if err := json.Unmarshal(c.Request.Body, &r); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "%v", err)
	}
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, err
	}
	var doc *store.Document // nil: only which types there may be is asked
	if !r.asksForTypes() {
		if doc, err = r.document(set.Hierarchy, c.Scope, r.ResourceDetails.ResourceContent); err != nil {
			return nil, err
		}
	}
	var answer object
	err = c.Runtime.Store.View(ctx, func(tx store.ReadTx) error {
		world := &assignment.World{Tx: tx, Now: c.Runtime.Now(), Facts: cfg.Facts}
		decide := func(d *store.Document) (*admission.Decision, error) {
			return admission.Decide(set, world, d, r.ResourceDetails.APIVersion)
		}
		with := func(field, value string) (*store.Document, error) {
			return r.with(set.Hierarchy, c.Scope, doc, field, value)
		}
		fields, err := r.fields(with, decide)
		if err != nil {
			return err
		}
		d := &admission.Decision{}
		if doc != nil {
			if d, err = decide(doc); err != nil {
				return err
			}
		}
		answer = object{{"fieldRestrictions", fields}, {"contentEvaluationResult", object{{"policyEvaluations", evaluations(d)}}}}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return provider.JSON(200, answer)
}

// document is the resource that is asked about, where it would be.
func (r *restrictionsRequest) document(tree *assignment.Hierarchy, scope arm.ID, content json.RawMessage) (*store.Document, error) {
	typ, name := arm.GetString(content, "type"), arm.GetString(content, "name")
	if typ == "" || !strings.Contains(typ, "/") {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "resourceDetails.resourceContent.type", "The resource has no type.")
	}
	if name == "" {
		name = "unnamed"
	}
	if r.ResourceDetails.Scope != "" {
		at, err := arm.ParseID(r.ResourceDetails.Scope)
		if err != nil || !tree.Contains(scope, at) {
			return nil, arm.BadRequest(arm.CodeInvalidParameter, "resourceDetails.scope", "%q is not a scope inside '%s'.", clip(r.ResourceDetails.Scope), scope)
		}
		scope = at
	}
	id, err := arm.ParseID(idOf(scope, typ, name))
	if err != nil {
		return nil, err
	}
	return &store.Document{ID: id.String(), Type: id.Type(), SubscriptionID: id.Subscription(), ResourceGroup: id.ResourceGroup(),
		Location: arm.NormalLocation(arm.GetString(content, "location")), Body: content}, nil
}

// idOf joins a type and a name that both may have several levels.
func idOf(scope arm.ID, typ, name string) string {
	types, names := strings.Split(typ, "/"), strings.Split(name, "/")
	id := strings.TrimSuffix(scope.String(), "/") + "/providers/" + types[0]
	for i, t := range types[1:] {
		n := "unnamed"
		if i < len(names) && names[i] != "" {
			n = names[i]
		}
		id += "/" + t + "/" + n
	}
	return id
}

// asksForTypes reports whether there is no resource, but types that one might have: what
// Azure takes at a management group.
func (r *restrictionsRequest) asksForTypes() bool {
	return arm.GetString(r.ResourceDetails.ResourceContent, "type") == "" && len(r.PendingFields) > 0 &&
		!slices.ContainsFunc(r.PendingFields, func(f pendingField) bool { return !strings.EqualFold(f.Field, "type") })
}

// with is the resource with another value of a field.
func (r *restrictionsRequest) with(tree *assignment.Hierarchy, scope arm.ID, doc *store.Document, field, value string) (*store.Document, error) {
	content := r.ResourceDetails.ResourceContent
	if doc != nil {
		content = doc.Body
	}
	if len(content) == 0 {
		content = json.RawMessage("{}")
	}
	body, err := arm.Set(content, pathOf(field), value)
	if err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "pendingFields", "The field %q cannot be set: %v.", field, err)
	}
	return r.document(tree, scope, body)
}

// fields tries the values that a form would offer.
func (r *restrictionsRequest) fields(with func(field, value string) (*store.Document, error), decide func(*store.Document) (*admission.Decision, error)) ([]object, error) {
	out := []object{}
	for _, f := range r.PendingFields {
		refused := []restriction{}
		for _, v := range f.Values {
			try, err := with(f.Field, v)
			if err != nil {
				return nil, err
			}
			d, err := decide(try)
			if err != nil {
				return nil, err
			}
			for _, x := range d.Denied {
				refused = append(refused, restriction{Result: "Deny", Values: []string{v}, Policy: infoOf(x.Unit), Reason: x.Unit.Message()})
			}
		}
		out = append(out, object{{"field", f.Field}, {"restrictions", refused}})
	}
	return out, nil
}

// pathOf is where a field stands: aliases' properties are found by their short name.
func pathOf(field string) string {
	if i := strings.LastIndexByte(field, '/'); i >= 0 {
		return "properties." + strings.TrimPrefix(field[i+1:], "properties.")
	}
	if rest, ok := strings.CutPrefix(field, "tags["); ok {
		return "tags." + strings.Trim(rest, "']")
	}
	return field
}

func evaluations(d *admission.Decision) []object {
	out := []object{}
	for _, f := range d.Denied {
		out = append(out, object{{"policyInfo", infoOf(f.Unit)}, {"evaluationResult", "NonCompliant"},
			{"evaluationDetails", object{{"evaluatedExpressions", append([]assignment.Expression{}, f.Expressions...)}, {"reason", f.Reason}}},
			{"effectDetails", object{{"policyEffect", f.Effect}}}})
	}
	return out
}
