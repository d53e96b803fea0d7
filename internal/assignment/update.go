package assignment

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// update is the set after some policies have changed. It reads the documents that have,
// and the assignments that are made from them. A change of the hierarchy, which reaches
// everywhere, has everything read again.
func (c *compiler) update(tx store.ReadTx, old *Set, changes []store.Change) (*Set, error) {
	if slices.ContainsFunc(changes, func(ch store.Change) bool { return TypeMember.Equal(ch.Type) || arm.TypeManagementGroup.Equal(ch.Type) }) {
		return c.read(tx)
	}
	set := old.clone()
	var err error
	if set.Epoch, err = epoch(tx); err != nil {
		return nil, err
	}
	affected := map[string]bool{}
	for _, ch := range changes {
		switch key := strings.ToLower(ch.Key); {
		case typeEpoch.Equal(ch.Type): // has been read
		case TypeAssignment.Equal(ch.Type):
			affected[key] = true
		case TypeExemption.Equal(ch.Type):
			if err := set.exempt(tx, key); err != nil {
				return nil, err
			}
		default:
			key = definitionOf(key, ch.Type)
			delete(c.sources, key)
			maps.Copy(affected, c.users[key])
		}
	}
	return set, c.reassign(tx, set, affected)
}

// definitionOf is the key of the definition or initiative that a changed document
// belongs to.
func definitionOf(key string, typ arm.Type) string {
	if TypeDefinitionVersion.Equal(typ) || TypeInitiativeVersion.Equal(typ) {
		return key[:strings.LastIndex(key, versionsBelow)]
	}
	return key
}

// reassign reads assignments again, in the order of their keys.
func (c *compiler) reassign(tx store.ReadTx, set *Set, affected map[string]bool) error {
	r := &reading{compiler: c, tx: tx, shape: set.shape}
	for _, key := range slices.Sorted(maps.Keys(affected)) {
		d, err := tx.Get(key)
		if errors.Is(err, store.ErrNotFound) {
			set.remove(key)
			c.keep(key, nil)
			continue
		}
		if err != nil {
			return err
		}
		a, err := r.assignment(d)
		if err != nil {
			return err
		}
		set.put(a)
	}
	c.sweep()
	c.drop()
	return nil
}

// drop forgets definitions that no assignment is made from any more.
func (c *compiler) drop() {
	if len(c.sources) <= len(c.users) {
		return
	}
	maps.DeleteFunc(c.sources, func(key string, _ *source) bool { return c.users[key] == nil })
}

// exempt reads an exemption again. It may have been of another assignment before.
func (s *Set) exempt(tx store.ReadTx, key string) error {
	for of, all := range s.exemptions {
		if slices.ContainsFunc(all, func(e *Exemption) bool { return e.docKey == key }) {
			s.exemptOf(of, key, nil)
		}
	}
	d, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if e := exemption(d); e != nil {
		s.exemptOf(e.of, key, e)
	}
	return nil
}

func (s *Set) exemptOf(assignment, key string, e *Exemption) {
	if s.exemptions[assignment] = with(s.exemptions[assignment], key, e); len(s.exemptions[assignment]) == 0 {
		delete(s.exemptions, assignment)
	}
}
