package sqlite

import (
	"database/sql"
	"fmt"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Scan implements store.Scanner. Without bodies it reads nothing but the index of
// types, which is why the location is compared as it stands there.
func (t *tx) Scan(q store.Query, bodies bool, f func(*store.Head) error) error {
	columns := "id, type, location, tags"
	if bodies {
		columns += ", body"
	}
	text, args := statement(columns, "lower(location)", q.Normal())
	rows, err := t.q.QueryContext(t.ctx, text, args...)
	if err != nil {
		return fmt.Errorf("scanning: %w", err)
	}
	defer rows.Close()
	var h store.Head
	var typ, location, id, tags, body sql.RawBytes
	dest := []any{&id, &typ, &location, &tags, &body}
	if !bodies {
		dest = dest[:4]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fmt.Errorf("scanning: %w", err)
		}
		h.ID, h.Tags, h.Body = id, tags, body
		if string(h.Type) != string(typ) { // they repeat
			h.Type = arm.Type(typ)
		}
		if h.Location != string(location) {
			h.Location = string(location)
		}
		if err := f(&h); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("scanning: %w", err)
	}
	return nil
}

// Types implements store.Scanner: one step into the index for each.
func (t *tx) Types() ([]arm.Type, error) {
	rows, err := t.q.QueryContext(t.ctx, `WITH RECURSIVE k(key) AS (
		SELECT min(type_key) FROM documents
		UNION ALL SELECT (SELECT min(type_key) FROM documents WHERE type_key > k.key) FROM k WHERE k.key IS NOT NULL)
		SELECT (SELECT type FROM documents WHERE type_key = k.key LIMIT 1) FROM k WHERE key IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("listing types: %w", err)
	}
	defer rows.Close()
	var types []arm.Type
	for rows.Next() {
		var typ arm.Type
		if err := rows.Scan(&typ); err != nil {
			return nil, fmt.Errorf("listing types: %w", err)
		}
		types = append(types, typ)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing types: %w", err)
	}
	return types, nil
}
