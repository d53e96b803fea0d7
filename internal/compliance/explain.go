package compliance

import (
	"context"
	"errors"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/store"
)

// Explained is one policy on one resource, with all there is to say about it.
type Explained struct {
	Unit        *assignment.Unit
	Effect      string // as written
	State       State  // "" if the policy does not look at the resource
	Why         string // the policy does not look at it, or cannot be evaluated
	Verdict     policy.Verdict
	Explanation *policy.Explanation
	Reasons     []string // the comparisons that decided
	Changes     []string // what modify or append would do
	Exemption   *assignment.Exemption
	AttestedBy  string
}

// Policies explains every policy that looks at a resource's type, evaluated now. ARM's
// not found if there is no such resource.
func (r *Reader) Policies(ctx context.Context, id arm.ID) (doc *store.Document, out []Explained, err error) {
	err = r.engine.cfg.Store.View(ctx, func(tx store.ReadTx) error {
		if doc, err = tx.Get(id.Key()); errors.Is(err, store.ErrNotFound) {
			return arm.NotFound(id)
		}
		if err != nil {
			return err
		}
		s, err := r.engine.world(tx).Subject(doc, "")
		if err != nil {
			return err
		}
		for _, a := range r.Set.At(doc.ARMID()) {
			for _, u := range a.Units {
				if !u.Looks(doc.Type, doc.Location) {
					continue
				}
				x, err := r.policy(u, s)
				if err != nil {
					return err
				}
				out = append(out, x)
			}
		}
		return nil
	})
	return doc, out, err
}

func (r *Reader) policy(u *assignment.Unit, s *assignment.Subject) (x Explained, err error) {
	x = Explained{Unit: u, Effect: u.Effect(s.Type, s.Location)}
	if x.State, x.Verdict, err = weigh(u, s); err != nil {
		return x, err
	}
	x.Why, x.Changes = x.Verdict.Reason, changes(x.Verdict)
	switch {
	case u.Problem != nil:
		x.Why = u.Problem.Error()
		return x, nil
	case x.Verdict.Problem != nil:
		x.Why = x.Verdict.Problem.Error()
	case x.State == "" && x.Why == "":
		x.Why = "its rule does not hold for this resource"
	}
	if _, x.Explanation, err = u.Explain(s); err != nil {
		return x, err
	}
	x.Reasons = assignment.Reasons(x.Explanation)
	if x.State != "" {
		row := Row{Resource: s.ID.String(), Type: s.Type, Location: s.Location, Unit: u, State: x.State}
		r.overlay(&row, s.ID)
		x.State, x.Exemption, x.AttestedBy = row.State, row.Exemption, row.Attestedby
	}
	return x, nil
}
