// Package rbac decides what a principal may do: deny unless an assignment at the
// scope or above it allows.
//
// Two roles exist: Owner may do everything, Reader may read. The decision is a pure
// function of plain assignments; who stores them is not its business. cmd
// wires it; provider asks it through its own Authorizer interface.
package rbac

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
)

// The roles.
const (
	Owner  = "Owner"
	Reader = "Reader"
)

// Assignment gives a principal a role at a scope and everything below.
type Assignment struct {
	PrincipalID string // object id
	Role        string // Owner or Reader; anything else allows nothing
	Scope       arm.ID
}

// Source is where assignments are kept.
type Source interface {
	// Assignments are all of one principal.
	Assignments(ctx context.Context, principalID string) ([]Assignment, error)
}

// Allows reports whether the assignments let the principal do the action at the scope.
func Allows(as []Assignment, principalID, action string, scope arm.ID) bool {
	for _, a := range as {
		if !strings.EqualFold(a.PrincipalID, principalID) || !roleAllows(a.Role, action) {
			continue
		}
		if a.Scope.Contains(scope) || wayTo(a.Scope, action, scope) {
			return true
		}
	}
	return false
}

func roleAllows(role, action string) bool {
	switch role {
	case Owner:
		return true
	case Reader:
		return strings.HasSuffix(strings.ToLower(action), "/read")
	}
	return false
}

// wayTo lets somebody who has a role somewhere in a subscription see that the
// subscription, its locations and its providers exist: no client finds its
// way to the group otherwise.
func wayTo(assigned arm.ID, action string, scope arm.ID) bool {
	if scope.IsRoot() {
		return strings.EqualFold(action, "Microsoft.Resources/tenants/read")
	}
	return scope.Kind() == arm.KindSubscription && scope.Contains(assigned) && navigation[strings.ToLower(action)]
}

var navigation = map[string]bool{
	"microsoft.resources/subscriptions/read":           true,
	"microsoft.resources/subscriptions/locations/read": true,
	"microsoft.resources/subscriptions/providers/read": true,
}

// Authorizer decides by the assignments of a source.
type Authorizer struct{ Source Source }

// Authorize is nil, or AuthorizationFailed naming principal, action and scope.
func (a Authorizer) Authorize(ctx context.Context, p identity.Principal, action string, scope arm.ID) error {
	as, err := a.Source.Assignments(ctx, p.ObjectID)
	if err != nil {
		return fmt.Errorf("reading role assignments of %s: %w", p.ObjectID, err)
	}
	if p.ObjectID != "" && Allows(as, p.ObjectID, action, scope) {
		return nil
	}
	return arm.Errorf(http.StatusForbidden, arm.CodeAuthorizationFailed,
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
			"Ask an Owner of the scope for a role on it.", p.Name, p.ObjectID, action, scope).At(scope.String())
}
