package rbac

import (
	"context"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
)

// Roles is a Source: the roles that a directory keeps with its principals.
type Roles struct{ Directory Directory }

// Directory finds principals; *identity.Directory does.
type Directory interface {
	ByObjectID(id string) (identity.ServicePrincipal, error)
}

// Assignments implements Source. Somebody who is gone has none, whatever a token that
// still lives says.
func (r Roles) Assignments(_ context.Context, principalID string) ([]Assignment, error) {
	sp, err := r.Directory.ByObjectID(principalID)
	if errors.Is(err, identity.ErrNoSuchPrincipal) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var as []Assignment
	for _, role := range sp.Roles {
		scope, err := arm.ParseID(role.Scope)
		if err != nil {
			return nil, fmt.Errorf("a role of %s: %w", sp.DisplayName, err)
		}
		as = append(as, Assignment{PrincipalID: sp.ObjectID, Role: role.Name, Scope: scope})
	}
	return as, nil
}
