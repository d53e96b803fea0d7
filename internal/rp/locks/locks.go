// Package locks is the locks part of the Microsoft.Authorization provider:
// Microsoft.Authorization/locks on subscriptions, resource groups and resources.
//
// CanNotDelete keeps everybody, Owners included, from deleting what is at its scope or
// below; ReadOnly also from writing it and from doing anything with it. What
// controllers write about their own resources is exempt, and so are locks themselves.
// A delete that takes other resources along is refused when one of those is locked.
// cmd imports it; no other rp may.
package locks

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Type of the locks.
const Type arm.Type = "Microsoft.Authorization/locks"

// The levels of a lock.
const (
	CanNotDelete = "CanNotDelete"
	ReadOnly     = "ReadOnly"
)

// maxNotes is how long Azure lets notes be.
const maxNotes = 512

// New is the provider.
func New() provider.Provider {
	return provider.Provider{
		Types: []provider.ResourceType{{
			Type: Type, Scopes: provider.AtSubscription | provider.AtResourceGroup | provider.AtResource, APIVersions: []string{"2020-05-01", "2017-04-01", "2016-09-01", "2015-01-01"},
			Hidden: true, NoState: true, NoPatch: true, ListBelow: true, Default: spellLevel, Validate: validate,
		}},
		Guard: guard,
	}
}

// properties are those of a lock.
type properties struct {
	Level  string
	Notes  string
	Owners []struct{ ApplicationID string }
}

func read(body json.RawMessage) (p properties, err error) {
	var lock struct{ Properties properties }
	err = json.Unmarshal(body, &lock)
	return lock.Properties, err
}

// spellLevel writes the level as Azure does.
func spellLevel(w *provider.Write) (err error) {
	level := arm.GetString(w.Doc.Body, "properties.level")
	for _, known := range []string{CanNotDelete, ReadOnly} {
		if strings.EqualFold(level, known) {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.level", known)
		}
	}
	return err
}

func validate(w *provider.Write) (errs []*arm.Error) {
	p, err := read(w.Doc.Body)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The lock cannot be read: %v.", err)}
	}
	if p.Level != CanNotDelete && p.Level != ReadOnly {
		errs = append(errs, arm.BadRequest("InvalidLockLevel", "properties.level", "The lock level is '%.40s'; it must be CanNotDelete or ReadOnly.", p.Level))
	}
	if n := utf8.RuneCountInString(p.Notes); n > maxNotes {
		errs = append(errs, arm.BadRequest("InvalidLockNotes", "properties.notes", "The notes have %d characters; at most %d are possible.", n, maxNotes))
	}
	if w.ID.Scope().Type().Equal(Type) {
		errs = append(errs, arm.BadRequest("InvalidLockScope", w.ID.String(), "A lock cannot be locked."))
	}
	return errs
}

// guard implements provider.Provider.Guard.
func guard(tx store.ReadTx, action string, id arm.ID) error {
	if id.Subscription() == "" || id.Type().Equal(Type) {
		return nil
	}
	some, err := tx.List(store.Query{Type: Type, SubscriptionID: id.Subscription(), Limit: 1})
	if err != nil || len(some) == 0 {
		return err
	}
	deletes := strings.HasSuffix(strings.ToLower(action), "/delete")
	locked, err := lockedAbove(tx, id, deletes)
	if err == nil && deletes {
		var below []string
		below, err = lockedBelow(tx, id)
		locked = append(locked, below...)
	}
	if err != nil || len(locked) == 0 {
		return err
	}
	operation := "write"
	if deletes {
		operation = "delete"
	}
	return arm.Conflict("ScopeLocked", id.String(),
		"The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. Please remove the lock and try again.", id, operation, strings.Join(locked, ","))
}

// lockedAbove are the scopes at and above id with a lock that stands against it.
func lockedAbove(tx store.ReadTx, id arm.ID, deletes bool) (locked []string, err error) {
	for scope := id; !scope.IsRoot(); scope = scope.Parent() {
		found, err := tx.List(store.Query{Type: Type, Prefix: scope.Key() + "/providers/" + Type.Key() + "/"})
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			if deletes || arm.GetString(d.Body, "properties.level") == ReadOnly {
				locked = append(locked, d.ARMID().Scope().String())
				break
			}
		}
	}
	return locked, nil
}

// namedBelow is how many locked scopes an error names.
const namedBelow = 10

// lockedBelow are scopes below id that are locked, some of them if they are many.
func lockedBelow(tx store.ReadTx, id arm.ID) (locked []string, err error) {
	found, err := tx.List(store.Query{Type: Type, Prefix: id.Key() + "/", Limit: namedBelow})
	for _, d := range found {
		if scope := d.ARMID().Scope(); !scope.Equal(id) {
			locked = append(locked, scope.String())
		}
	}
	return locked, err
}
