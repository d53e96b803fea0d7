package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxStatements is how many prepared statements a connection keeps, some 10 KB each.
const maxStatements = 32

// conn is one connection with the statements that it has prepared: preparing one takes
// longer than a look-up by key. It stands on the driver itself, since database/sql
// would take as long again for a row, half of it for converting and copying columns.
type conn struct {
	mu    sync.Mutex // a transaction's reads may come from several goroutines
	c     driver.Conn
	stmts map[string]*stmt
}

type stmt struct {
	driver.Stmt
	kept bool // in conn.stmts
	busy bool // its rows are being read: it cannot run once more meanwhile
}

func newConn(ctx context.Context, d driver.Connector) (*conn, error) {
	c, err := d.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]*stmt{}}, nil
}

// prepare is a statement that is ready to run.
func (c *conn) prepare(text string) (*stmt, error) {
	known := c.stmts[text]
	if known != nil && !known.busy {
		return known, nil
	}
	p, err := c.c.Prepare(text)
	if err != nil {
		return nil, err
	}
	s := &stmt{Stmt: p}
	if known != nil {
		return s, nil // the other copy is in use; this one is for once
	}
	if len(c.stmts) >= maxStatements {
		c.forget()
	}
	s.kept = true
	c.stmts[text] = s
	return s, nil
}

// forget closes the statements that nobody uses.
func (c *conn) forget() {
	for text, s := range c.stmts {
		if !s.busy {
			_ = s.Close() // tells how it last ran
			delete(c.stmts, text)
		}
	}
}

// release ends the use of a statement.
func (s *stmt) release() {
	s.busy = false
	if !s.kept {
		_ = s.Close() // tells how it last ran
	}
}

// exec runs a statement that returns no rows. Arguments are int64, string, []byte,
// bool or nil.
func (c *conn) exec(ctx context.Context, text string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	defer s.release()
	_, err = s.Stmt.(driver.StmtExecContext).ExecContext(ctx, named(args))
	return err
}

// query runs a statement whose rows the caller closes. ctx interrupts it.
func (c *conn) query(ctx context.Context, text string, args ...any) (*rows, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.prepare(text)
	if err != nil {
		return nil, err
	}
	r, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, named(args))
	if err != nil {
		s.release()
		return nil, err
	}
	s.busy = true
	return &rows{ctx: ctx, c: c, s: s, r: r, values: make([]driver.Value, len(r.Columns()))}, nil
}

func named(args []any) []driver.NamedValue {
	vs := make([]driver.NamedValue, len(args))
	for i, a := range args {
		vs[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return vs
}

// row is the only row's values; ok is false if there is none. What the row is for is
// found at once, so that nothing need interrupt it.
func (c *conn) row(text string, args ...any) (vs []driver.Value, ok bool, err error) {
	r, err := c.query(context.Background(), text, args...)
	if err != nil {
		return nil, false, err
	}
	defer r.close()
	ok = r.next()
	return r.values, ok, r.err
}

// number is the only row's only value.
func (c *conn) number(text string, args ...any) (n int64, ok bool, err error) {
	vs, ok, err := c.row(text, args...)
	if ok {
		n, _ = vs[0].(int64)
	}
	return n, ok, err
}

func (c *conn) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	return c.c.Close()
}

// rows are the rows of a query, one at a time.
type rows struct {
	ctx    context.Context
	c      *conn
	s      *stmt
	r      driver.Rows
	values []driver.Value // of the row: int64, string, []byte or nil; the caller's to keep, but not the slice
	err    error          // why next said that there are no more, unless that is so
}

func (r *rows) next() bool {
	if r.err = r.ctx.Err(); r.err != nil {
		return false
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.err = r.r.Next(r.values)
	if errors.Is(r.err, io.EOF) {
		r.err = nil
		return false
	}
	return r.err == nil
}

func (r *rows) close() {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	_ = r.r.Close() // tells again what next told
	r.s.release()
}

// pool lends connections, the one used last first: its cache is the warmest.
type pool struct {
	connector driver.Connector
	slots     chan struct{} // one for each that is lent

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(d driver.Connector, size int) *pool {
	return &pool{connector: d, slots: make(chan struct{}, size)}
}

// begin lends a connection with a snapshot; end takes it back.
func (p *pool) begin(ctx context.Context) (*conn, error) {
	c, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.exec(context.Background(), "BEGIN"); err != nil {
		return nil, errors.Join(err, p.drop(c))
	}
	return c, nil
}

// end forgets the snapshot: there is nothing to commit.
func (p *pool) end(c *conn) {
	if err := c.exec(context.Background(), "ROLLBACK"); err != nil {
		_ = p.drop(c) // the next one gets a new connection
		return
	}
	p.give(c)
}

func (p *pool) take(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := p.pop()
	if c == nil && err == nil {
		c, err = newConn(ctx, p.connector)
	}
	if err != nil {
		<-p.slots
		return nil, err
	}
	return c, nil
}

var errPoolClosed = errors.New("the connections are closed")

func (p *pool) pop() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	last := len(p.idle) - 1
	if last < 0 {
		return nil, nil
	}
	c := p.idle[last]
	p.idle = p.idle[:last]
	return c, nil
}

func (p *pool) give(c *conn) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if closed {
		_ = c.close() // only read
	}
	<-p.slots
}

func (p *pool) drop(c *conn) error {
	defer func() { <-p.slots }()
	return c.close()
}

// close closes what is not lent; the rest closes when it comes back.
func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing connections: %w", err)
	}
	return nil
}
