package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// TypeEvent is the store's type of policy events, one for each policy that had
// something to say about a request. They are the Private part of their documents
// and are forgotten after Retention.
const TypeEvent arm.Type = "Hallmark.Compliance/policyEvents"

// Retention is how long events are kept; Azure keeps them for 90 days.
const Retention = 90 * 24 * time.Hour

// States of events.
const (
	StateNonCompliant = "NonCompliant"
	StateError        = "Error"
)

// Event is what one policy did with one request.
type Event struct {
	Time              time.Time `json:"time"`
	Resource          string    `json:"resource"`
	Type              string    `json:"type"`
	Location          string    `json:"location,omitempty"`
	Assignment        string    `json:"assignment"`
	Definition        string    `json:"definition"`
	DefinitionVersion string    `json:"definitionVersion,omitempty"`
	Initiative        string    `json:"initiative,omitempty"`
	Reference         string    `json:"reference,omitempty"`
	Groups            []string  `json:"groups,omitempty"`
	Effect            string    `json:"effect"`
	State             string    `json:"state"`
	Enforced          bool      `json:"enforced"`
	Principal         string    `json:"principal"`
	Action            string    `json:"action"`
}

func (d *deciding) event(u *assignment.Unit, effect string) {
	e := Event{Resource: d.doc.ID, Type: string(d.doc.Type), Location: d.doc.Location, Assignment: u.Assignment.ID.String(),
		Definition: u.DefinitionID, DefinitionVersion: u.DefinitionVersion, Reference: u.ReferenceID, Groups: u.Groups,
		Effect: strings.ToLower(effect), State: StateNonCompliant, Enforced: u.Assignment.Enforced}
	if u.Assignment.Initiative {
		e.Initiative = u.Assignment.Definition.String()
	}
	d.Events = append(d.Events, e)
}

// complete adds who asked for what, and when.
func (e *Event) complete(w *provider.Write) {
	e.Time, e.Principal, e.Action = now(w), w.Principal.ObjectID, string(w.Type.Type)+"/"+w.Action
}

func putEvents(tx store.Tx, events []Event) error {
	for _, e := range events {
		raw, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("writing a policy event: %w", err)
		}
		id, err := arm.ParseID(e.Resource)
		if err != nil {
			return err
		}
		scope := arm.Tenant
		if s := id.Subscription(); s != "" {
			scope = arm.SubscriptionID(s)
		}
		doc := &store.Document{ID: scope.Resource(TypeEvent, strings.ToLower(ulid.Make().String())).String(), Type: TypeEvent,
			SubscriptionID: scope.Subscription(), Body: json.RawMessage("{}"), Private: raw, CreatedAt: e.Time, UpdatedAt: e.Time, CreatedBy: e.Principal}
		if err := tx.Put(doc, store.Absent); err != nil {
			return fmt.Errorf("writing a policy event: %w", err)
		}
	}
	return nil
}
