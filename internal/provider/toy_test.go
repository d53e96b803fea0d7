package provider_test

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// toy is a provider that shows and tests all that a type can do: wheels hang on axles,
// take time to make, can be spun, and have spokes as children.
type toy struct {
	spin func(ctx context.Context, name string) error
	hold chan struct{} // if set, making a wheel waits for a value
}

func (c toy) provider() provider.Provider {
	return provider.Provider{
		Types: []provider.ResourceType{{
			Type: "Hallmark.Toy/wheels", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-01-01"},
			Name: regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`), NameHint: "lower-case letters, digits and dashes, at most 31",
			Location: provider.LocationRequired, Tags: true,
			ReadOnly: []string{"properties.spins"},
			Load:     loadAxle, Default: defaultWheel, Validate: validateWheel,
			CascadeDelete: true, Reconcile: c.reconcile, Workers: 2,
			Actions: []provider.Action{
				{Name: "spin", Async: true, Apply: applySpin},
				{Name: "brake", WhileBusy: true, Apply: func(context.Context, *provider.Write) (any, error) { return nil, nil }},
				{Name: "turn", Async: true, KeepState: true, Apply: applySpin},
				{Name: "weight", Method: "GET", Apply: func(context.Context, *provider.Write) (any, error) { return map[string]int{"kg": 7}, nil }},
			},
			View: viewWheel,
		}, {
			Type: "Hallmark.Toy/wheels/spokes", APIVersions: []string{"2024-01-01"},
		}, {
			Type: "Hallmark.Toy/axles", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-01-01"}, Codes: provider.Codes{Update: 201},
		}, {
			Type: "Hallmark.Toy/axles/ends", APIVersions: []string{"2024-01-01"},
		}, {
			Type: "Hallmark.Toy/labels", Scopes: provider.AtResource | provider.AtResourceGroup | provider.AtSubscription | provider.AtTenant, APIVersions: []string{"2024-01-01"}, NoState: true,
		}},
		Routes: []provider.Route{{
			Pattern:    "/subscriptions/{subscription}/providers/Hallmark.Toy/locations/{location}/sizes",
			Permission: "Hallmark.Toy/locations/sizes/read",
			Handle: func(_ context.Context, c *provider.Call) (*provider.Response, error) {
				return provider.JSON(200, []string{"small in " + c.Vars["location"]})
			},
		}, {
			Pattern: "/subscriptions/{subscription}/providers/Hallmark.Toy/panic", Permission: "Hallmark.Toy/panic/read",
			Handle: func(context.Context, *provider.Call) (*provider.Response, error) { panic("a bug") },
		}},
	}
}

type wheel struct {
	Properties struct {
		Size int
		Axle struct{ ID string }
	}
}

type private struct{ Wanted, Done int } // spins

func loadAxle(ctx context.Context, w *provider.Write) error {
	var x wheel
	if json.Unmarshal(w.Doc.Body, &x) != nil || x.Properties.Axle.ID == "" {
		return nil // Validate says so
	}
	id, err := arm.ParseID(x.Properties.Axle.ID)
	if err != nil {
		return err
	}
	w.Loaded, err = w.Client.Get(ctx, id) // as the caller: 404 and 403 pass through
	return err
}

func defaultWheel(w *provider.Write) (err error) {
	if _, ok := arm.Get(w.Doc.Body, "properties.size"); !ok {
		w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.size", 1)
	}
	return err
}

func validateWheel(w *provider.Write) (errs []*arm.Error) {
	var x wheel
	if err := json.Unmarshal(w.Doc.Body, &x); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "%v", err)}
	}
	if x.Properties.Size < 1 || x.Properties.Size > 9 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.size", "size is %d; it must be 1 to 9.", x.Properties.Size))
	}
	return errs
}

func applySpin(_ context.Context, w *provider.Write) (any, error) {
	p, err := readPrivate(w.Doc)
	if err == nil {
		p.Wanted++ // desired state, not an event
		w.Doc.Private, err = json.Marshal(p)
	}
	return nil, err
}

func readPrivate(d *store.Document) (p private, err error) {
	if len(d.Private) > 0 {
		err = json.Unmarshal(d.Private, &p)
	}
	return p, err
}

func (c toy) reconcile(ctx context.Context, w *provider.Work) (time.Duration, error) {
	if w.Doc.Deleting {
		kids, err := store.List(ctx, w.Store, store.Query{Prefix: w.Doc.Key + "/spokes/"})
		if err != nil {
			return 0, err
		}
		for _, k := range kids {
			if err := w.Client.Delete(ctx, k.ARMID()); err != nil {
				return 0, err
			}
		}
		return 0, w.Remove(ctx)
	}
	p, err := readPrivate(w.Doc)
	if err != nil || p.Done == p.Wanted && w.Doc.State().Terminal() && len(w.Doc.Operations) == 0 {
		return 0, err
	}
	if c.hold != nil && !w.Doc.State().Terminal() {
		select {
		case <-c.hold:
		case <-controller.Changed(ctx):
			return 0, nil // called again
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, c.finish(ctx, w, p)
}

func (c toy) finish(ctx context.Context, w *provider.Work, p private) error {
	if p.Done < p.Wanted && c.spin != nil {
		if err := c.spin(ctx, w.ID.Name()); err != nil {
			return w.Update(ctx, func(d *provider.Draft) {
				p.Wanted = p.Done
				d.SetPrivate(p)
				d.Fail(arm.Errorf(0, "SpinFailed", "The wheel does not turn: %v. Oil it.", err))
			})
		}
	}
	p.Done = p.Wanted
	return w.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(p)
		d.Set("properties.spins", p.Done)
		d.End("turn", map[string]int{"turns": p.Done}, nil)
		d.Succeed()
	})
}

func viewWheel(_ context.Context, v *provider.View) (json.RawMessage, error) {
	if !slices.Contains(v.Expand, "instanceview") {
		return v.Doc.Body, nil
	}
	return arm.Set(v.Doc.Body, "properties.instanceView", map[string]string{"state": "round"})
}
