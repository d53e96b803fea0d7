package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// EventType is the store's type of audit events.
const EventType arm.Type = "Hallmark.Control/events"

// Event is one change that somebody made, written in the same transaction; it is
// the Private part of its document.
type Event struct {
	Time          time.Time `json:"time"`
	Principal     string    `json:"principal"` // object id
	PrincipalName string    `json:"principalName"`
	Action        string    `json:"action"` // RBAC action
	Resource      string    `json:"resource"`
	CorrelationID string    `json:"correlationId,omitempty"`
	APIVersion    string    `json:"apiVersion"`
}

func (c *call) audit(tx store.Tx, w *Write) error {
	return Record(tx, w.ID, Event{Time: w.Now, Principal: w.Principal.ObjectID, PrincipalName: w.Principal.Name,
		Action: c.permission(w), Resource: w.ID.String(), CorrelationID: c.CorrelationID, APIVersion: w.APIVersion})
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
