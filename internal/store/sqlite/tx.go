package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// tx is a transaction of either kind; only Update hands it out as one that writes.
type tx struct {
	ctx      context.Context
	c        *conn // nil when it has ended
	revision int64 // of the last change in this transaction
	wrote    bool
	changes  []store.Change
}

const columns = `key, id, type, subscription, resource_group, location, tags, body, private, operations, deleting, revision, created_at, updated_at, created_by, updated_by`

var errEnded = errors.New("bug: the transaction has ended")

func (t *tx) exec(text string, args ...any) error {
	if t.c == nil {
		return errEnded
	}
	return t.c.exec(t.ctx, text, args...)
}

func (t *tx) query(text string, args ...any) (*rows, error) {
	if t.c == nil {
		return nil, errEnded
	}
	return t.c.query(t.ctx, text, args...)
}

// rowsOf reads what a query selects. Of a query whose rows lie beside each other in an
// index the first is found at once, and next looks at ctx before each other.
func (t *tx) rowsOf(q store.Query, text string, args []any) (*rows, error) {
	if t.c == nil {
		return nil, errEnded
	}
	if q.Type == "" || q.Prefix == "" || q.Location != "" || q.Name != "" {
		return t.c.query(t.ctx, text, args...)
	}
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	rows, err := t.c.query(context.Background(), text, args...)
	if err == nil {
		rows.ctx = t.ctx
	}
	return rows, err
}

// row looks one row up. It takes less time than arranging to be interrupted would.
func (t *tx) row(text string, args ...any) (vs []driver.Value, ok bool, err error) {
	if err := t.ctx.Err(); err != nil {
		return nil, false, err
	}
	if t.c == nil {
		return nil, false, errEnded
	}
	return t.c.row(text, args...)
}

// Get implements store.ReadTx.
func (t *tx) Get(key string) (*store.Document, error) {
	vs, ok, err := t.row(`SELECT `+columns+` FROM documents WHERE key = ?1`, strings.ToLower(key))
	if err == nil && !ok {
		return nil, fmt.Errorf("%s: %w", key, store.ErrNotFound)
	}
	var d *store.Document
	if err == nil {
		d, err = document(vs)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return d, nil
}

// List implements store.ReadTx.
func (t *tx) List(q store.Query) ([]*store.Document, error) {
	text, args := selection(q.Normal())
	rows, err := t.rowsOf(q, text, args)
	if err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	defer rows.close()
	var ds []*store.Document
	for rows.next() {
		d, err := document(rows.values)
		if err != nil {
			return nil, fmt.Errorf("listing: %w", err)
		}
		ds = append(ds, d)
	}
	if rows.err != nil {
		return nil, fmt.Errorf("listing: %w", rows.err)
	}
	return ds, nil
}

// selection is the statement for a Normal query.
func selection(q store.Query) (string, []any) {
	return statement(columns, "location_key", q)
}

// statement selects columns; location is what is compared with the query's, since which
// index serves it depends on that.
func statement(columns, location string, q store.Query) (string, []any) {
	var where []string
	var args []any
	add := func(condition string, arg any) {
		where, args = append(where, condition), append(args, arg)
	}
	subscription := q.SubscriptionID
	if strings.HasPrefix(q.Prefix, "/subscriptions/"+subscription+"/") {
		subscription = "" // the range says it, and an index that has no subscriptions serves
	}
	for _, c := range [][2]string{{"type_key", q.Type.Key()}, {"subscription_key", subscription}, {"resource_group_key", q.ResourceGroup}, {location, q.Location}} {
		if c[1] != "" {
			add(c[0]+" = ?", c[1])
		}
	}
	// One bound only at either end: of two, SQLite seeks the first and walks to the second.
	if q.After != "" && q.After >= q.Prefix {
		add("key > ?", q.After)
	} else if q.Prefix != "" {
		add("key >= ?", q.Prefix)
	}
	if end, bounded := after(q.Prefix); bounded && (q.Before == "" || end < q.Before) {
		add("key < ?", end)
	} else if q.Before != "" {
		add("key < ?", q.Before)
	}
	if q.Name != "" {
		where, args = append(where, "substr(key, -length(?)) = ?"), append(args, "/"+q.Name, "/"+q.Name)
	}
	text := `SELECT ` + columns + ` FROM documents`
	if len(where) > 0 {
		text += ` WHERE ` + strings.Join(where, " AND ")
	}
	text += ` ORDER BY key`
	if q.Limit > 0 {
		text += ` LIMIT ?`
		args = append(args, int64(q.Limit))
	}
	return text, args
}

// after is the smallest text that no text with the prefix reaches.
func after(prefix string) (string, bool) {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1]), true
		}
	}
	return "", false
}

// Put implements store.Tx.
func (t *tx) Put(d *store.Document, expect int64) error {
	key := strings.ToLower(d.ID)
	if err := t.check(key, expect); err != nil {
		return fmt.Errorf("storing %s: %w", d.ID, err)
	}
	t.revision++
	d.Stamp(t.revision)
	tags, operations, err := lists(d)
	if err != nil {
		return fmt.Errorf("storing %s: %w", d.ID, err)
	}
	err = t.exec(`INSERT INTO documents (`+columns+`, type_key, subscription_key, resource_group_key, location_key)
		VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)
		ON CONFLICT (key) DO UPDATE SET id=?2, type=?3, subscription=?4, resource_group=?5, location=?6, tags=?7, body=?8, private=?9, operations=?10,
		deleting=?11, revision=?12, created_at=?13, updated_at=?14, created_by=?15, updated_by=?16, type_key=?17, subscription_key=?18, resource_group_key=?19, location_key=?20`,
		d.Key, d.ID, string(d.Type), d.SubscriptionID, d.ResourceGroup, d.Location, tags, blob(d.Body), blob(d.Private), operations, d.Deleting, d.Revision,
		micros(d.CreatedAt), micros(d.UpdatedAt), d.CreatedBy, d.UpdatedBy,
		d.Type.Key(), strings.ToLower(d.SubscriptionID), strings.ToLower(d.ResourceGroup), strings.ToLower(d.Location))
	if err == nil && expect <= store.Absent {
		err = t.exec(`DELETE FROM tombstones WHERE key = ?1`, key)
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", d.ID, err)
	}
	t.changed(store.Change{Revision: d.Revision, Key: d.Key, Type: d.Type})
	return nil
}

func (t *tx) changed(c store.Change) {
	t.wrote = true
	t.changes = append(t.changes, c)
}

// Delete implements store.Tx.
func (t *tx) Delete(key string, expect int64) error {
	key = strings.ToLower(key)
	vs, ok, err := t.row(`SELECT type FROM documents WHERE key = ?1`, key)
	if err == nil && !ok {
		return fmt.Errorf("deleting %s: %w", key, store.ErrNotFound)
	}
	if err == nil {
		err = t.check(key, expect)
	}
	if err != nil {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	t.revision++
	err = t.exec(`DELETE FROM documents WHERE key = ?1`, key)
	if err == nil {
		err = t.exec(`INSERT INTO tombstones (key, type, revision) VALUES (?1, ?2, ?3)
			ON CONFLICT (key) DO UPDATE SET type = ?2, revision = ?3`, key, text(vs[0]), t.revision)
	}
	if err != nil {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	t.changed(store.Change{Revision: t.revision, Key: key, Type: arm.Type(text(vs[0])), Deleted: true})
	return nil
}

func (t *tx) check(key string, expect int64) error {
	if expect == store.Any {
		return nil
	}
	vs, ok, err := t.row(`SELECT revision FROM documents WHERE key = ?1`, key)
	if err != nil {
		return err
	}
	revision := store.Absent
	if ok {
		revision = integer(vs[0])
	}
	if revision != expect {
		return store.ErrConflict
	}
	return nil
}

// document is a row of columns. Its values are its own already: the driver copies them.
func document(v []driver.Value) (*store.Document, error) {
	d := &store.Document{
		Key: text(v[0]), ID: text(v[1]), Type: arm.Type(text(v[2])), SubscriptionID: text(v[3]), ResourceGroup: text(v[4]), Location: text(v[5]),
		Body: bytes(v[7]), Private: bytes(v[8]), Deleting: integer(v[10]) != 0, Revision: integer(v[11]),
		CreatedAt: fromMicros(v[12]), UpdatedAt: fromMicros(v[13]), CreatedBy: text(v[14]), UpdatedBy: text(v[15]),
	}
	d.ETag = store.ETagOf(d.Revision)
	var err error
	if tags, ok := v[6].(string); ok {
		err = json.Unmarshal([]byte(tags), &d.Tags)
	}
	if operations, ok := v[9].(string); ok && err == nil {
		err = json.Unmarshal([]byte(operations), &d.Operations)
	}
	return d, err
}

// What a value is, or nothing if it is NULL.
func text(v driver.Value) string   { s, _ := v.(string); return s }
func bytes(v driver.Value) []byte  { b, _ := v.([]byte); return b }
func integer(v driver.Value) int64 { n, _ := v.(int64); return n }

// lists are tags and operations as JSON, nil when empty.
func lists(d *store.Document) (tags, operations any, err error) {
	if len(d.Tags) > 0 {
		b, err := json.Marshal(d.Tags)
		if err != nil {
			return nil, nil, err
		}
		tags = string(b)
	}
	if len(d.Operations) > 0 {
		b, err := json.Marshal(d.Operations)
		if err != nil {
			return nil, nil, err
		}
		operations = string(b)
	}
	return tags, operations, nil
}

func blob(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	return []byte(raw)
}

func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func fromMicros(v driver.Value) time.Time {
	n, ok := v.(int64)
	if !ok {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
