package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/template"
)

// look asks what became of a resource that its provider works on.
func (r *run) look(ctx context.Context, s *step) {
	state, why, err := r.outcome(ctx, s)
	switch {
	case err != nil: // the store's trouble: look again
	case state == arm.StateSucceeded:
		r.end(s, 200, nil)
	case state.Terminal():
		e := &arm.Error{Code: "ResourceDeploymentFailure", Target: s.ID,
			Message: "The resource write operation failed to complete successfully, because it reached terminal provisioning state '" + string(state) + "'."}
		if why != nil {
			e.Details = []*arm.Error{why}
		}
		if why != nil && strings.EqualFold(s.Type, string(Type)) {
			e = why // the nested deployment says it all
		}
		r.end(s, 409, e)
	}
}

// outcome is the state of the operation that was begun, or else of the resource.
func (r *run) outcome(ctx context.Context, s *step) (arm.ProvisioningState, *arm.Error, error) {
	if s.Operation != "" {
		if d, err := store.Get(ctx, r.w.Store, s.Operation); err == nil {
			rec, err := operation.Read(d)
			return rec.Status, rec.Error, err
		}
	}
	d, err := store.Get(ctx, r.w.Store, s.ID)
	if errors.Is(err, store.ErrNotFound) {
		return arm.StateFailed, arm.Errorf(0, arm.CodeResourceNotFound, "The resource was deleted while the deployment ran.").At(s.ID), nil
	}
	if err != nil {
		return "", nil, err
	}
	return d.State(), nil, nil
}

// finish ends the deployment: nothing runs, and nothing more can begin.
func (r *run) finish(ctx context.Context) error {
	var details []*arm.Error
	for _, s := range r.st.Steps {
		if s.State == failed {
			details = append(details, s.Error)
		}
	}
	if len(details) > 0 {
		return r.fail(ctx, &arm.Error{Code: "DeploymentFailed", Target: r.w.Doc.ID, Details: details,
			Message: "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details."})
	}
	outputs, err := r.plan.Outputs(states{ctx, r.client})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		e := r.masked(invalid(err))
		e.Code, e.Message = "DeploymentOutputEvaluationFailed", strings.Replace(e.Message, "Deployment template validation failed", "Unable to evaluate template outputs", 1)
		return r.fail(ctx, &arm.Error{Code: "DeploymentFailed", Target: r.w.Doc.ID, Details: []*arm.Error{e},
			Message: "The resources are deployed, but the outputs of the template cannot be evaluated. Please see details."})
	}
	return r.close(ctx, func(d *provider.Draft) {
		d.Set("properties.outputs", r.outputs(outputs))
		d.Succeed()
	})
}

// outputs are what clients see; one that would show a secret has no value.
func (r *run) outputs(all []template.Output) map[string]typed {
	out := map[string]typed{}
	for _, o := range all {
		one := typed{Type: o.Type}
		if !o.Value.IsUndefined() && !r.shows(o.Value) {
			one.Value = json.RawMessage(o.Value.JSON())
		}
		out[o.Name] = one
	}
	return out
}

func (r *run) shows(v value.Value) bool {
	if v.Kind() == value.String {
		for _, secret := range r.secrets {
			if len(secret) >= shortestSecret && strings.Contains(v.Str(), secret) {
				return true
			}
		}
		return false
	}
	for i := range v.Len() {
		if r.shows(v.At(i)) {
			return true
		}
	}
	return false
}

func (r *run) fail(ctx context.Context, e *arm.Error) error {
	return r.close(ctx, func(d *provider.Draft) {
		d.Set("properties.error", e)
		d.Fail(e)
	})
}

func (r *run) canceled(ctx context.Context) error {
	now := r.w.Now()
	for i := range r.st.Steps {
		if s := &r.st.Steps[i]; s.State == asked || s.State == running {
			s.State, s.End = canceled, &now
		}
	}
	return r.close(ctx, func(d *provider.Draft) {
		d.Set("properties.error", &arm.Error{Code: "DeploymentCanceled", Target: r.w.Doc.ID, Message: "The deployment was canceled. What it had made stays."})
		d.Cancel()
	})
}

// close writes the end, and forgets the secrets.
func (r *run) close(ctx context.Context, change func(*provider.Draft)) error {
	made := []resourceView{}
	for _, s := range r.st.Steps {
		if s.State == succeeded {
			made = append(made, resourceView{ID: s.ID})
		}
	}
	in, err := r.s.open(r.st)
	if err != nil {
		return r.save(ctx, change) // the reason for the end
	}
	end := *r.st
	if end.Sealed, err = r.s.seal(inputs{Template: in.Template, Location: in.Location, Started: in.Started}); err != nil {
		return err
	}
	defer r.s.plans.Delete(r.w.Doc.Key)
	now := r.w.Now()
	return r.save(ctx, func(d *provider.Draft) {
		d.SetPrivate(end)
		d.Set("properties.timestamp", now)
		d.Set("properties.duration", duration(now.Sub(in.Started)))
		d.Set("properties.outputResources", made)
		change(d)
	})
}
