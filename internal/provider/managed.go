package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// TypeUserAssigned is the type of identities that are resources of their own.
const TypeUserAssigned arm.Type = "Microsoft.ManagedIdentity/userAssignedIdentities"

const actionAssign = string(TypeUserAssigned) + "/assign/action"

// managed is the property "identity" of resources that may have one.
type managed struct {
	Type         string                   `json:"type"`
	PrincipalID  string                   `json:"principalId,omitempty"`
	TenantID     string                   `json:"tenantId,omitempty"`
	UserAssigned map[string]*assignedUser `json:"userAssignedIdentities,omitempty"`
}

type assignedUser struct {
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

func (m managed) has(kind string) bool {
	for one := range strings.SplitSeq(m.Type, ",") {
		if strings.EqualFold(strings.TrimSpace(one), kind) {
			return true
		}
	}
	return false
}

// Values of identity.type; the first two may stand together.
const (
	systemAssigned = "SystemAssigned"
	userAssigned   = "UserAssigned"
)

func readManaged(body json.RawMessage) (m managed, ok bool, err error) {
	raw, ok := arm.Get(body, "identity")
	if !ok || string(raw) == "null" {
		return m, ok, nil
	}
	return m, ok, json.Unmarshal(raw, &m)
}

// identify completes the identity that a write asks for: a principal of its own, which
// stays the same as long as the resource has one, and the ids of user-assigned ones.
// Leaving the property out leaves the identity as it is.
func (c *call) identify(ctx context.Context, w *Write) error {
	if !w.Type.Identity || c.p.cfg.TenantID == "" {
		return nil
	}
	m, asked, err := readManaged(w.Doc.Body)
	if err != nil {
		return arm.BadRequest(arm.CodeInvalidRequestContent, "identity", "The identity cannot be read: %v.", err)
	}
	var old managed
	if w.Old != nil {
		if old, _, err = readManaged(w.Old.Body); err != nil {
			return fmt.Errorf("reading the identity of %s: %w", w.ID, err)
		}
	}
	switch {
	case !asked && old.Type == "":
		return nil
	case !asked:
		m = old
	}
	return c.completeIdentity(ctx, w, m, old)
}

func (c *call) completeIdentity(ctx context.Context, w *Write, m, old managed) error {
	next := managed{}
	var kinds []string
	if m.has(systemAssigned) {
		kinds = append(kinds, systemAssigned)
		if next.PrincipalID, next.TenantID = old.PrincipalID, c.p.cfg.TenantID; next.PrincipalID == "" {
			next.PrincipalID = identity.NewID()
		}
	}
	if m.has(userAssigned) {
		kinds = append(kinds, userAssigned)
		if len(m.UserAssigned) == 0 {
			return arm.BadRequest("InvalidIdentityId", "identity.userAssignedIdentities", "The identity type UserAssigned needs the ids of identities in userAssignedIdentities.")
		}
		var err error
		if next.UserAssigned, err = c.assigned(ctx, m, old); err != nil {
			return err
		}
	}
	if next.Type = strings.Join(kinds, ", "); len(kinds) == 0 {
		if m.Type != "" && !m.has("None") {
			return arm.BadRequest("InvalidIdentityType", "identity.type", "identity.type is %q; it must be SystemAssigned, UserAssigned, both with a comma, or None.", clip(m.Type))
		}
		w.Doc.Body = arm.Remove(w.Doc.Body, "identity")
		return nil
	}
	var err error
	w.Doc.Body, err = arm.Set(w.Doc.Body, "identity", next)
	return err
}

// assigned looks user-assigned identities up. Who gives one to a resource can act as
// it from then on, so that takes the right to assign it; to keep one does not.
func (c *call) assigned(ctx context.Context, m, old managed) (map[string]*assignedUser, error) {
	all := map[string]*assignedUser{}
	for text := range m.UserAssigned {
		id, err := arm.ParseID(text)
		if err != nil || !id.Type().Equal(TypeUserAssigned) {
			return nil, arm.BadRequest("InvalidIdentityId", "identity.userAssignedIdentities", "%q is not the id of a user-assigned identity.", clip(text))
		}
		if !old.keeps(id) {
			if err := c.authorize(ctx, actionAssign, id); err != nil {
				return nil, err
			}
		}
		doc, err := c.p.load(ctx, id)
		if err != nil {
			return nil, err
		}
		all[doc.ID] = &assignedUser{PrincipalID: arm.GetString(doc.Body, "properties.principalId"), ClientID: arm.GetString(doc.Body, "properties.clientId")}
	}
	return all, nil
}

func (m managed) keeps(id arm.ID) bool {
	for text := range m.UserAssigned {
		if strings.EqualFold(text, id.String()) {
			return true
		}
	}
	return false
}

// keepIdentity makes the directory say what the document does, in its transaction.
func (c *call) keepIdentity(tx store.Tx, w *Write) error {
	if !w.Type.Identity || c.p.cfg.TenantID == "" {
		return nil
	}
	next, _, err := readManaged(w.Doc.Body)
	if err != nil {
		return err
	}
	if w.Old != nil {
		old, _, err := readManaged(w.Old.Body)
		if err == nil && old.PrincipalID != "" && old.PrincipalID != next.PrincipalID {
			err = directory.RemoveManaged(tx, w.Old.ID, old.PrincipalID)
		}
		if err != nil {
			return err
		}
	}
	if next.PrincipalID == "" {
		return nil
	}
	return directory.KeepManaged(tx, directory.Managed(w.ID, next.PrincipalID, w.Now))
}

// forgetIdentity removes the principal of a document that is removed.
func forgetIdentity(tx store.Tx, d *store.Document) error {
	if id := arm.GetString(d.Body, "identity.principalId"); id != "" {
		return directory.RemoveManaged(tx, d.ID, id)
	}
	return nil
}
