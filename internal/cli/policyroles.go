package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/azure"
)

// actAs gives an assignment an identity: its own, or a user-assigned one.
func (s *session) actAs(body map[string]any, who, location string) {
	body["location"] = cmp.Or(location, s.Location)
	body["identity"] = map[string]any{"type": "SystemAssigned"}
	if who != "system" {
		body["identity"] = map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{who: map[string]any{}}}
	}
}

// identify gives an assignment its own identity unless it has one.
func (s *session) identify(ctx context.Context, id string, o assignOptions, body map[string]any) error {
	var old json.RawMessage
	err := s.Get(ctx, id, apiPolicy, &old)
	if err != nil && !azure.IsNotFound(err) {
		return err
	}
	if err == nil && principalOf(old) != "" {
		identity, _ := arm.Get(old, "identity")
		body["location"], body["identity"] = arm.GetString(old, "location"), identity
		return nil
	}
	s.actAs(body, "system", o.location)
	return nil
}

// principalOf is the object id of the identity that an assignment acts as; "" without one.
func principalOf(assigned json.RawMessage) string {
	_, objectID := assignment.IdentityOf(arm.ID{}, assigned)
	return objectID
}

// remedies is what an assignment may put right.
func (s *session) remedies(ctx context.Context, body map[string]any) (assignment.Remedial, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return assignment.Remedial{}, err
	}
	spec, err := assignment.ReadSpec(raw)
	if err != nil {
		return assignment.Remedial{}, err
	}
	return assignment.Remedies(spec, func(id arm.ID, _ string) (json.RawMessage, error) {
		var d json.RawMessage
		err := s.Get(ctx, id.String(), apiPolicy, &d)
		if azure.IsNotFound(err) {
			return nil, nil
		}
		return d, err
	})
}

// entitle gives an assignment's identity the roles that its policies name. What it has
// already it keeps.
func (s *session) entitle(ctx context.Context, scope string, assigned json.RawMessage, roles []string) error {
	principal := principalOf(assigned)
	if principal == "" || len(roles) == 0 {
		return nil
	}
	has, err := s.assignments(ctx, scope, principal)
	if err != nil {
		return err
	}
	for _, role := range roles {
		if slices.ContainsFunc(has, func(g granted) bool {
			return strings.EqualFold(last(g.role), last(role)) && coversScope(g.scope, scope)
		}) {
			continue
		}
		if err := s.grantID(ctx, scope, principal, role); err != nil && azure.Code(err) != "RoleAssignmentExists" {
			return &Error{Code: ExitFailed, Err: fmt.Errorf("the policy is assigned, but its identity did not get the role %s: %w", last(role), err),
				Hint: "somebody who may write role assignments can give it: az role assignment create --assignee-object-id " + principal +
					" --assignee-principal-type ServicePrincipal --role " + last(role) + " --scope " + scope}
		}
		s.app.progress("the assignment's identity %s got the role %s at %s", principal, last(role), shortScope(scope))
	}
	return nil
}

// coversScope reports whether what holds at one scope holds at another.
func coversScope(at, scope string) bool {
	at = strings.ToLower(strings.TrimSuffix(at, "/"))
	rest, ok := strings.CutPrefix(strings.ToLower(scope), at)
	return ok && (rest == "" || rest[0] == '/')
}

// grantID gives a role by its id. The assignment's name follows from what it says, so
// that saying it twice is no second one.
func (s *session) grantID(ctx context.Context, scope, principal, role string) error {
	if strings.HasPrefix(strings.ToLower(role), "/providers/") && strings.HasPrefix(scope, "/subscriptions/") {
		role = subscriptionOf(scope) + role
	}
	sum := sha256.Sum256([]byte(strings.ToLower(scope + "\x00" + principal + "\x00" + role)))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	name := fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	body := map[string]any{"properties": map[string]string{"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}}
	return s.Put(ctx, scope+"/providers/"+typeAssignment+"/"+name, apiRoles, body, nil)
}
