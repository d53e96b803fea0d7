package compliance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/store"
)

// entry is a generation of an assignment that verdicts are kept of.
type entry struct {
	Key        string `json:"key"` // assignment.Assignment.Key
	Generation string `json:"generation"`
	Known      bool   `json:"known"` // evaluated over everything that it covers
}

// ledger numbers the generations of assignments, so that verdicts can name them in a
// byte or two. A number is never used again. It is immutable.
type ledger struct {
	entries map[uint32]entry
	newest  map[string]uint32 // by the assignment's key
	next    uint32
}

func newLedger(entries map[uint32]entry, next uint32) *ledger {
	l := &ledger{entries: entries, newest: map[string]uint32{}, next: max(next, 1)}
	for n, e := range entries {
		l.newest[e.Key] = max(l.newest[e.Key], n)
		l.next = max(l.next, n+1)
	}
	return l
}

// number is an assignment's, 0 if this generation has none.
func (l *ledger) number(a *assignment.Assignment) uint32 {
	if n, ok := l.newest[a.Key]; ok && l.entries[n].Generation == a.Generation {
		return n
	}
	return 0
}

func (l *ledger) known(a *assignment.Assignment) bool { return l.entries[l.number(a)].Known }

// current is the assignment that a number stands for, nil if it is none, or another,
// by now.
func (l *ledger) current(set *assignment.Set, number uint32) *assignment.Assignment {
	e, ok := l.entries[number]
	if !ok {
		return nil
	}
	if a := set.Named(e.Key); a != nil && a.Generation == e.Generation {
		return a
	}
	return nil
}

// adopt is the ledger with a number for each of a set's assignments, without those
// that are gone. What an assignment found before it was changed is kept until its
// present generation is known: that a verdict moved is only seen beside it.
func (l *ledger) adopt(set *assignment.Set) *ledger {
	entries, next, changed := maps.Clone(l.entries), l.next, false
	maps.DeleteFunc(entries, func(_ uint32, e entry) bool {
		gone := set.Named(e.Key) == nil
		changed = changed || gone
		return gone
	})
	for _, a := range set.Assignments {
		if l.number(a) == 0 {
			entries[next] = entry{Key: a.Key, Generation: a.Generation}
			next, changed = next+1, true
		}
	}
	if !changed {
		return l
	}
	return newLedger(entries, next)
}

// finished is the ledger once some assignments are evaluated everywhere.
func (l *ledger) finished(as []*assignment.Assignment) *ledger {
	entries := maps.Clone(l.entries)
	for _, a := range as {
		n := l.number(a)
		if n == 0 {
			continue // it has changed since
		}
		maps.DeleteFunc(entries, func(m uint32, e entry) bool { return e.Key == a.Key && m != n })
		entries[n] = entry{Key: a.Key, Generation: a.Generation, Known: true}
	}
	return newLedger(entries, l.next)
}

// unknown is the ledger when some assignments have to be evaluated everywhere again.
func (l *ledger) unknown(as []*assignment.Assignment) *ledger {
	entries := maps.Clone(l.entries)
	for _, a := range as {
		if n := l.number(a); n != 0 {
			entries[n] = entry{Key: a.Key, Generation: a.Generation}
		}
	}
	return newLedger(entries, l.next)
}

// forgotten is the ledger when nothing is known to be evaluated everywhere any more.
func (l *ledger) forgotten() *ledger {
	entries := maps.Clone(l.entries)
	for n, e := range entries {
		e.Known = false
		entries[n] = e
	}
	return newLedger(entries, l.next)
}

func ledgerID(number uint32) arm.ID {
	return arm.Tenant.Resource(typeLedger, strconv.FormatUint(uint64(number), 10))
}

// put stores what is different from an older ledger.
func (l *ledger) put(tx store.Tx, old *ledger, now time.Time) error {
	for n := range old.entries {
		if _, ok := l.entries[n]; !ok {
			if err := drop(tx, ledgerID(n).Key()); err != nil {
				return err
			}
		}
	}
	for n, e := range l.entries {
		if old.entries[n] == e {
			continue
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("writing which assignments are evaluated: %w", err)
		}
		id := ledgerID(n).String()
		if err := tx.Put(&store.Document{ID: id, Type: typeLedger, Body: json.RawMessage("{}"), Private: raw, CreatedAt: now, UpdatedAt: now}, store.Any); err != nil {
			return err
		}
	}
	return nil
}

func readLedger(tx store.ReadTx, next uint32) (*ledger, error) {
	docs, err := tx.List(store.Query{Type: typeLedger})
	if err != nil {
		return nil, err
	}
	entries := map[uint32]entry{}
	for _, d := range docs {
		var e entry
		n, err := strconv.ParseUint(d.ARMID().Name(), 10, 31)
		if err == nil {
			err = json.Unmarshal(d.Private, &e)
		}
		if err != nil {
			return nil, fmt.Errorf("reading which assignments are evaluated, %s: %w", d.ID, err)
		}
		entries[uint32(n)] = e
	}
	return newLedger(entries, next), nil
}

// turn makes a ledger the engine's, here and in the store.
func (e *Engine) turn(ctx context.Context, l *ledger) error {
	old := e.ledger
	if l == old {
		return nil
	}
	err := e.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if err := l.put(tx, old, e.now()); err != nil {
			return err
		}
		return e.save(tx, e.Progress().Evaluated, l.next)
	})
	if err != nil {
		return fmt.Errorf("storing how far evaluation is: %w", err)
	}
	e.seen.Lock()
	defer e.seen.Unlock()
	e.ledger = l
	return nil
}

// anyKnown reports whether anything was ever evaluated everywhere.
func (l *ledger) anyKnown() bool {
	for _, e := range l.entries {
		if e.Known {
			return true
		}
	}
	return false
}
