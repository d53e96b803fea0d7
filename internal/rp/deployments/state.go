package deployments

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// state is a deployment's Private.
type state struct {
	Sealed      []byte // inputs
	Principal   identity.Principal
	Correlation string
	Cancel      bool
	Steps       []step // one for each resource of the plan, in its order
}

// step is how far one resource is.
type step struct {
	ID    string
	Type  string
	Name  string
	State string
	// Operation is the record of what the resource's provider does; "" if it was done
	// when it answered.
	Operation string     `json:",omitempty"`
	Tries     int        `json:",omitempty"`
	Start     *time.Time `json:",omitempty"`
	End       *time.Time `json:",omitempty"`
	Status    int        `json:",omitempty"` // HTTP's, of the answer
	Error     *arm.Error `json:",omitempty"`
}

// States of a step. Asked is written before the resource is asked for, Running once
// its provider has said yes and works on it.
const (
	waiting   = ""
	asked     = "Asked"
	running   = "Running"
	succeeded = "Succeeded"
	failed    = "Failed"
	canceled  = "Canceled" // the deployment was, while the provider worked
	skipped   = "Skipped"  // its condition is false, or it is only referred to
)

func (st step) done() bool { return st.State == succeeded || st.State == skipped }

func readState(d *store.Document) (*state, error) {
	var s state
	if err := json.Unmarshal(d.Private, &s); err != nil {
		return nil, fmt.Errorf("reading the state of %s: %w", d.ID, err)
	}
	return &s, nil
}

func (s *service) seal(in inputs) ([]byte, error) {
	plain, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("keeping a deployment's inputs: %w", err)
	}
	return s.Sealer.Seal(plain)
}

func (s *service) open(st *state) (in inputs, err error) {
	plain, err := s.Sealer.Open(st.Sealed)
	if err != nil {
		return in, fmt.Errorf("opening a deployment's inputs: %w", err)
	}
	return in, json.Unmarshal(plain, &in)
}

// fill puts what was asked into Private, and what clients may see into the body.
func (s *service) fill(w *provider.Write) error {
	p, ok := w.Loaded.(*prepared)
	if !ok {
		return fmt.Errorf("the deployment %s was not prepared", w.ID)
	}
	st := state{Principal: w.Principal, Correlation: p.correlation}
	for _, r := range p.plan.Resources {
		one := step{ID: r.ID.String(), Type: string(r.Type), Name: r.Name}
		if r.Skipped || r.Existing {
			one.State = skipped
		}
		st.Steps = append(st.Steps, one)
	}
	var err error
	if st.Sealed, err = s.seal(p.inputs); err != nil {
		return err
	}
	if w.Doc.Private, err = json.Marshal(st); err != nil {
		return err
	}
	w.Doc.Body, err = arm.Set(arm.Remove(w.Doc.Body, "properties"), "properties", p.view())
	return err
}

// cancel asks for an end: nothing more is begun. What a provider works on goes on.
func cancel(_ context.Context, w *provider.Write) (any, error) {
	if w.Doc.State().Terminal() {
		return nil, arm.Conflict("DeploymentNotRunning", w.ID.String(), "The deployment '%s' has ended: it is %s. There is nothing to cancel.", w.ID.Name(), w.Doc.State())
	}
	st, err := readState(w.Doc)
	if err != nil {
		return nil, err
	}
	st.Cancel = true
	w.Doc.Private, err = json.Marshal(st)
	return nil, err
}

// checkDelete: a deployment that runs must be canceled first; only the end of its
// group takes it along.
func checkDelete(_ store.Tx, w *provider.Write) error {
	if w.Old.State().Terminal() || w.Principal == identity.System {
		return nil
	}
	return arm.Conflict("DeploymentActive", w.ID.String(), "The deployment '%s' is running and cannot be deleted. Cancel it or wait until it has ended.", w.ID.Name())
}
