package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// AddGroup stores a new group.
func (d *Directory) AddGroup(ctx context.Context, g Group) error {
	return d.update(ctx, func(tx store.Tx) error { return put(tx, groupID(g.ObjectID), g, g.Created) })
}

// EditGroup changes a group. f may run more than once.
func (d *Directory) EditGroup(ctx context.Context, id string, f func(*Group) error) (g Group, err error) {
	err = d.update(ctx, func(tx store.Tx) error {
		if g, err = get[Group](tx, groupID(id)); err != nil {
			return found(err, "group", id)
		}
		if err := f(&g); err != nil {
			return err
		}
		return put(tx, groupID(id), g, g.Created)
	})
	return g, err
}

// DeleteGroup removes a group; what was in it stays.
func (d *Directory) DeleteGroup(ctx context.Context, id string) error {
	return d.update(ctx, func(tx store.Tx) error {
		if err := tx.Delete(groupID(id).Key(), store.Any); err != nil {
			return found(err, "group", id)
		}
		return Touch(tx)
	})
}

// AddMember puts an object into a group; ErrExists if it is in it.
func (d *Directory) AddMember(ctx context.Context, group, member string) error {
	_, err := d.EditGroup(ctx, group, func(g *Group) error {
		if slices.ContainsFunc(g.Members, func(m string) bool { return strings.EqualFold(m, member) }) {
			return fmt.Errorf("member %s: %w", member, ErrExists)
		}
		g.Members = append(g.Members, member)
		return nil
	})
	return err
}

// RemoveMember takes an object out of a group; ErrNotFound if it is not in it.
func (d *Directory) RemoveMember(ctx context.Context, group, member string) error {
	_, err := d.EditGroup(ctx, group, func(g *Group) error {
		n := len(g.Members)
		g.Members = slices.DeleteFunc(g.Members, func(m string) bool { return strings.EqualFold(m, member) })
		if len(g.Members) == n {
			return fmt.Errorf("member %s: %w", member, ErrNotFound)
		}
		return nil
	})
	return err
}

// Seen records who signed in at another issuer, so that it can be found by name. Only
// the first time, and when a name has changed, something is written; that it could
// not be is no reason to refuse the token.
func (d *Directory) Seen(ctx context.Context, p identity.Principal, displayName string, now time.Time) error {
	u := User{ObjectID: p.ObjectID, DisplayName: displayName, Name: p.Name, Issuer: p.Issuer}
	if known, ok := d.seen.Load(u.ObjectID); ok && known == u {
		return nil
	}
	recorded := u
	recorded.Created = now.UTC()
	if err := d.See(ctx, recorded); err != nil {
		return err
	}
	d.seen.Store(u.ObjectID, u)
	return nil
}

// See records a user. One that is recorded as it is stays as it is.
func (d *Directory) See(ctx context.Context, u User) error {
	id := userID(u.ObjectID)
	return d.update(ctx, func(tx store.Tx) error {
		old, err := get[User](tx, id)
		if err == nil {
			if old.Issuer != u.Issuer {
				return fmt.Errorf("user %s of %s: %w", u.ObjectID, old.Issuer, ErrExists)
			}
			if u.Created = old.Created; old == u {
				return nil
			}
		}
		return put(tx, id, u, u.Created)
	})
}
