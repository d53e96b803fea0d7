package sqlite

import (
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Scan implements store.Scanner. Without bodies it reads nothing but the index of
// types, which is why the location is compared as it stands there.
func (t *tx) Scan(q store.Query, bodies bool, f func(*store.Head) error) error {
	columns := "id, type, location, tags"
	if bodies {
		columns += ", body, deleting"
	}
	query, args := statement(columns, "lower(location)", q.Normal())
	rows, err := t.query(query, args...)
	if err != nil {
		return fmt.Errorf("scanning: %w", err)
	}
	defer rows.close()
	var h store.Head
	var tags []byte
	for rows.next() {
		v := rows.values
		h.ID = append(h.ID[:0], text(v[0])...)
		h.Type, h.Location = arm.Type(text(v[1])), text(v[2])
		if h.Tags = nil; v[3] != nil {
			tags = append(tags[:0], text(v[3])...)
			h.Tags = tags
		}
		if bodies {
			h.Body, h.Deleting = bytes(v[4]), integer(v[5]) != 0
		}
		if err := f(&h); err != nil {
			return err
		}
	}
	if rows.err != nil {
		return fmt.Errorf("scanning: %w", rows.err)
	}
	return nil
}

// Types implements store.Scanner: one step into the index for each.
func (t *tx) Types() ([]arm.Type, error) {
	rows, err := t.query(`WITH RECURSIVE k(key) AS (
		SELECT min(type_key) FROM documents
		UNION ALL SELECT (SELECT min(type_key) FROM documents WHERE type_key > k.key) FROM k WHERE k.key IS NOT NULL)
		SELECT (SELECT type FROM documents WHERE type_key = k.key LIMIT 1) FROM k WHERE key IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("listing types: %w", err)
	}
	defer rows.close()
	var types []arm.Type
	for rows.next() {
		types = append(types, arm.Type(text(rows.values[0])))
	}
	if rows.err != nil {
		return nil, fmt.Errorf("listing types: %w", rows.err)
	}
	return types, nil
}
