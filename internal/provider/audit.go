package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// EventType is the store's type of audit events.
const EventType arm.Type = "Hallmark.Control/events"

// Event is one change that somebody made, written in the same transaction, or tried to
// make; it is the Private part of its document.
type Event struct {
	Time          time.Time `json:"time"`
	Principal     string    `json:"principal"` // object id
	PrincipalName string    `json:"principalName"`
	Action        string    `json:"action"` // RBAC action
	Resource      string    `json:"resource"`
	CorrelationID string    `json:"correlationId,omitempty"`
	APIVersion    string    `json:"apiVersion"`
	Method        string    `json:"method,omitempty"`
	StatusCode    int       `json:"statusCode,omitempty"` // of the answer
	// Operation is the id of the long-running operation that was started; what becomes
	// of it is in its record.
	Operation string `json:"operation,omitempty"`
	// Error is the code of why the request was refused, "" if it was not: the message
	// is left out, since it may quote what the client sent.
	Error string `json:"error,omitempty"`
}

func (c *call) audit(tx store.Tx, w *Write, op *running) error {
	e := c.event(c.permission(w), w.ID)
	e.Time, e.APIVersion, e.StatusCode = w.Now, w.APIVersion, c.successCode(w, op)
	if op != nil {
		e.Operation = op.id.String()
	}
	return Record(tx, w.ID, e)
}

func (c *call) event(action string, id arm.ID) Event {
	return Event{Principal: c.Principal.ObjectID, PrincipalName: c.Principal.Name, Action: action, Resource: id.String(),
		CorrelationID: c.CorrelationID, Method: c.Method}
}

// successCode is the status that the answer to a write will have.
func (c *call) successCode(w *Write, op *running) int {
	switch {
	case w.Action == "delete" && op != nil:
		return or(w.Type.Codes.Delete, http.StatusAccepted)
	case w.Action == "delete":
		return or(w.Type.Codes.Delete, http.StatusOK)
	case w.Action == "write":
		return c.writeCode(w)
	case op != nil:
		return http.StatusAccepted
	}
	return http.StatusOK
}

// refused leaves an event of a write, delete or action that failed. It is no part of
// anybody's transaction, and a failure to write it fails nothing else.
func (c *call) refused(ctx context.Context, err error) {
	failure := arm.AsError(err)
	if failure.Status >= 500 { // what came of it is not known; the server's log has it
		return
	}
	if c.tried == "" || c.Principal == identity.System || strings.HasSuffix(strings.ToLower(c.tried), "/read") || !c.p.refusals.allow(c.p.now()) {
		return
	}
	e := c.event(c.tried, c.asked)
	e.Time, e.APIVersion, e.StatusCode, e.Error = c.p.now(), c.apiVersion, failure.Status, failure.Code
	if err := c.p.cfg.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return Record(tx, c.asked, e) }); err != nil {
		c.p.cfg.Log.WarnContext(ctx, "a refused request could not be recorded", "action", c.tried, "resource", c.asked.String(), "error", err)
	}
}

// limiter bounds how many refusals are recorded: they cost whoever is refused nothing.
type limiter struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

// refusalsAMinute is far beyond what people and their tools cause.
const refusalsAMinute = 600

func (l *limiter) allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= time.Minute || now.Before(l.since) {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= refusalsAMinute
}

// Record leaves an event about an id, in the transaction of what it is about.
func Record(tx store.Tx, about arm.ID, e Event) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing an audit event: %w", err)
	}
	scope := arm.Tenant
	if s := about.Subscription(); s != "" {
		scope = arm.SubscriptionID(s)
	}
	id := scope.Resource(EventType, strings.ToLower(ulid.Make().String()))
	return tx.Put(&store.Document{ID: id.String(), Type: EventType, SubscriptionID: scope.Subscription(), Private: raw, Body: json.RawMessage("{}"),
		CreatedAt: e.Time, UpdatedAt: e.Time, CreatedBy: e.Principal}, store.Absent)
}

// permission is the RBAC action of a write.
func (c *call) permission(w *Write) string {
	if w.Action == "write" || w.Action == "delete" {
		return w.Type.permission(w.Action)
	}
	name := strings.TrimSuffix(w.Action, "/action")
	if a, _ := w.Type.action(name, c.Method); a != nil {
		return a.permission(w.Type)
	}
	return w.Type.permission(name + "/action")
}
