package network

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// listed is a kind of child that exists twice in ARM: as a list in its parent's body, and
// as resources. Both are written in the same transaction, so neither is ever ahead of the
// other.
type listed struct {
	typ    arm.Type
	path   string                                    // of the list in the parent
	unused func(tx store.ReadTx, child arm.ID) error // refuses to let a child go; nil: all may
}

func (l listed) read(parent json.RawMessage) (list []json.RawMessage, err error) {
	raw, ok := arm.Get(parent, l.path)
	if !ok {
		return nil, nil
	}
	return list, json.Unmarshal(raw, &list)
}

// commitParent makes the children what the list of their parent, which is being written, says.
func (l listed) commitParent(tx store.Tx, w *provider.Write) error {
	list, err := l.read(w.Doc.Body)
	if err != nil {
		return err
	}
	if err := l.removeMissing(tx, w, list); err != nil {
		return err
	}
	shown := []json.RawMessage{}
	for _, raw := range list {
		body, err := l.put(tx, w, raw)
		if err != nil {
			return err
		}
		shown = append(shown, body)
	}
	return set(w.Doc, l.path, shown)
}

// put writes the child document of one entry of the list and returns the entry as it is shown.
func (l listed) put(tx store.Tx, w *provider.Write, raw json.RawMessage) (json.RawMessage, error) {
	id := w.ID.Child(l.typ.Name(), arm.GetString(raw, "name"))
	body, err := l.complete(raw, id)
	if err != nil {
		return nil, err
	}
	d, err := tx.Get(id.Key())
	if errors.Is(err, store.ErrNotFound) {
		d = &store.Document{ID: id.String(), Type: l.typ, SubscriptionID: w.Doc.SubscriptionID, ResourceGroup: w.Doc.ResourceGroup,
			CreatedAt: w.Now, CreatedBy: w.Principal.ObjectID}
	} else if err != nil {
		return nil, err
	}
	if string(d.Body) == string(body) {
		return body, nil
	}
	d.Body, d.UpdatedAt, d.UpdatedBy = body, w.Now, w.Principal.ObjectID
	return body, tx.Put(d, d.Revision)
}

// complete adds what only the server writes.
func (l listed) complete(body json.RawMessage, id arm.ID) (_ json.RawMessage, err error) {
	for _, p := range []struct {
		path  string
		value any
	}{
		{"id", id.String()}, {"name", id.Name()}, {"type", l.typ}, {"properties.provisioningState", arm.StateSucceeded},
	} {
		if body, err = arm.Set(body, p.path, p.value); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func (l listed) removeMissing(tx store.Tx, w *provider.Write, wanted []json.RawMessage) error {
	children, err := tx.List(store.Query{Type: l.typ, Prefix: w.ID.Key() + "/"})
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, raw := range wanted {
		keep[strings.ToLower(arm.GetString(raw, "name"))] = true
	}
	for _, d := range children {
		if keep[strings.ToLower(d.ARMID().Name())] {
			continue
		}
		if err := l.mayGo(tx, d.ARMID()); err != nil {
			return err
		}
		if err := tx.Delete(d.Key, d.Revision); err != nil {
			return err
		}
	}
	return nil
}

func (l listed) mayGo(tx store.ReadTx, child arm.ID) error {
	if l.unused == nil {
		return nil
	}
	return l.unused(tx, child)
}

// commit puts a child that is being written into its parent's list.
func (l listed) commit(tx store.Tx, w *provider.Write) error {
	body, err := l.complete(w.Doc.Body, w.ID)
	if err != nil {
		return err
	}
	return l.change(tx, w, func(list []json.RawMessage) []json.RawMessage { return with(list, w.ID.Name(), body) })
}

// delete takes a child that is being deleted out of it.
func (l listed) delete(tx store.Tx, w *provider.Write) error {
	if err := l.mayGo(tx, w.ID); err != nil {
		return err
	}
	return l.change(tx, w, func(list []json.RawMessage) []json.RawMessage { return without(list, w.ID.Name()) })
}

// siblings are a child's parent and the list in it, as they are now.
func (l listed) siblings(tx store.ReadTx, w *provider.Write) (parent *store.Document, list []json.RawMessage, err error) {
	if parent, err = tx.Get(w.ID.Parent().Key()); err != nil {
		return nil, nil, err
	}
	list, err = l.read(parent.Body)
	return parent, list, err
}

func (l listed) change(tx store.Tx, w *provider.Write, change func([]json.RawMessage) []json.RawMessage) error {
	d, list, err := l.siblings(tx, w)
	if err != nil {
		return err
	}
	if err := set(d, l.path, change(list)); err != nil {
		return err
	}
	d.UpdatedAt, d.UpdatedBy = w.Now, w.Principal.ObjectID
	return tx.Put(d, d.Revision)
}

func with(list []json.RawMessage, name string, body json.RawMessage) []json.RawMessage {
	i := slices.IndexFunc(list, func(r json.RawMessage) bool { return strings.EqualFold(arm.GetString(r, "name"), name) })
	if i < 0 {
		return append(slices.Clone(list), body)
	}
	list = slices.Clone(list)
	list[i] = body
	return list
}

func without(list []json.RawMessage, name string) []json.RawMessage {
	left := []json.RawMessage{}
	for _, r := range list {
		if !strings.EqualFold(arm.GetString(r, "name"), name) {
			left = append(left, r)
		}
	}
	return left
}
