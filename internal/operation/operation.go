// Package operation keeps long-running operations as ARM shows them: a record that
// a client polls until it is Succeeded, Failed or Canceled.
//
// Records are documents in the same store and change in the same transaction as
// the resource they are about, so an operation ends exactly when its resource
// has got there. It runs nothing; controllers do. provider imports it.
package operation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Type is the documents' type in the store (their ids lie under the provider whose
// resource they are about).
const Type arm.Type = "Hallmark.Control/operations"

// Record is the state of one operation; it is the Private part of its document.
type Record struct {
	Name       string                `json:"name"`
	Resource   string                `json:"resource"` // id
	Action     string                `json:"action"`   // write, delete, or an action's name
	Principal  string                `json:"principal"`
	Status     arm.ProvisioningState `json:"status"` // InProgress or terminal
	StartTime  time.Time             `json:"startTime"`
	EndTime    *time.Time            `json:"endTime,omitempty"`
	Error      *arm.Error            `json:"error,omitempty"`
	Result     json.RawMessage       `json:"result,omitempty"`
	APIVersion string                `json:"apiVersion"`
	// CorrelationID ties it to the request's log lines and audit event.
	CorrelationID string `json:"correlationId,omitempty"`
}

// InProgress is the status of an operation that runs.
const InProgress arm.ProvisioningState = "InProgress"

// Outcome is how an operation ends.
type Outcome struct {
	Status arm.ProvisioningState
	Error  *arm.Error
	Result json.RawMessage
}

// ID is where a client polls: /subscriptions/S/providers/NS/locations/L/operationStatuses/NAME.
func ID(resource arm.ID, location, name string) arm.ID {
	scope := arm.Tenant
	if s := resource.Subscription(); s != "" {
		scope = arm.SubscriptionID(s)
	}
	if location == "" {
		location = "global"
	}
	return scope.Resource(arm.Type(resource.Type().Namespace()+"/locations"), location).Child("operationStatuses", name)
}

// Start records a running operation; the caller adds its id to the resource's
// Operations.
func Start(tx store.Tx, id arm.ID, r Record) error {
	r.Name, r.Status = id.Name(), InProgress
	return put(tx, &store.Document{ID: id.String(), Type: Type, SubscriptionID: id.Subscription(), CreatedAt: r.StartTime,
		CreatedBy: r.Principal}, r, store.Absent)
}

// End ends those of the operations whose action matches ("" matches all) and returns
// the ids of the others.
func End(tx store.Tx, ids []string, action string, now time.Time, o Outcome) (left []string, err error) {
	for _, id := range ids {
		kept, err := end(tx, id, now, func(r Record) (Outcome, bool) {
			return o, action == "" || strings.EqualFold(r.Action, action)
		})
		if err != nil {
			return nil, err
		}
		if kept {
			left = append(left, id)
		}
	}
	return left, nil
}

// EndAll ends all operations, each as outcome says.
func EndAll(tx store.Tx, ids []string, now time.Time, outcome func(Record) Outcome) error {
	for _, id := range ids {
		if _, err := end(tx, id, now, func(r Record) (Outcome, bool) { return outcome(r), true }); err != nil {
			return err
		}
	}
	return nil
}

// Removed is the outcome when the resource goes: a delete has succeeded, anything
// else was canceled by it.
func Removed(r Record) Outcome {
	if r.Action == "delete" {
		return Outcome{Status: arm.StateSucceeded}
	}
	return Preempted(r)
}

// Preempted is the outcome of an operation that a delete cuts short.
func Preempted(r Record) Outcome {
	return Outcome{Status: arm.StateCanceled, Error: &arm.Error{Code: arm.CodeOperationPreempted, Target: r.Resource,
		Message: fmt.Sprintf("The operation '%s' was ended because the resource is being deleted.", r.Action)}}
}

func end(tx store.Tx, id string, now time.Time, decide func(Record) (Outcome, bool)) (kept bool, err error) {
	d, err := tx.Get(id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // pruned: nobody polls it any more
	}
	if err != nil {
		return false, fmt.Errorf("ending operation %s: %w", id, err)
	}
	r, err := Read(d)
	if err != nil {
		return false, err
	}
	if r.Status.Terminal() {
		return false, nil
	}
	o, matches := decide(r)
	if !matches {
		return true, nil
	}
	r.Status, r.Error, r.Result, r.EndTime = o.Status, o.Error, o.Result, &now
	return false, put(tx, d, r, d.Revision)
}

// Read is the record in a document of Type.
func Read(d *store.Document) (r Record, err error) {
	if err := json.Unmarshal(d.Private, &r); err != nil {
		return r, fmt.Errorf("reading operation %s: %w", d.ID, err)
	}
	return r, nil
}

func put(tx store.Tx, d *store.Document, r Record, expect int64) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing operation %s: %w", d.ID, err)
	}
	d.Private, d.Body, d.UpdatedAt = raw, json.RawMessage("{}"), r.StartTime
	if r.EndTime != nil {
		d.UpdatedAt = *r.EndTime
	}
	if err := tx.Put(d, expect); err != nil {
		return fmt.Errorf("writing operation %s: %w", d.ID, err)
	}
	return nil
}
