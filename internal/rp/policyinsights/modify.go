package policyinsights

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const typeTags arm.Type = "Microsoft.Resources/tags"

// modifyNext puts the next resources right, through the pipeline: other policies still
// have their say. It reports how many could not be looked at yet.
func (cfg Config) modifyNext(ctx context.Context, w *provider.Work, client provider.Client, r remediation, u *assignment.Unit, t *task) (busy int) {
	done := 0
	for i := range t.Targets {
		d := &t.Targets[i]
		if d.Status != waiting || done >= r.Properties.ParallelDeployments {
			continue
		}
		done++
		err := cfg.modify(ctx, w, client, u, d.Resource)
		if changesNow(err) || ctx.Err() != nil {
			busy++
			continue
		}
		d.Updated, d.Status = w.Now(), succeeded
		if err != nil {
			d.fail(err)
		}
	}
	return busy
}

// changesNow reports whether a change was refused because somebody else changes the
// resource: it is decided anew.
func changesNow(err error) bool {
	var e *arm.Error
	return errors.As(err, &e) && (e.Code == arm.CodePreconditionFailed || e.Code == arm.CodeAnotherOperation)
}

func (cfg Config) modify(ctx context.Context, w *provider.Work, client provider.Client, u *assignment.Unit, resource string) error {
	var doc *store.Document
	var c *change
	err := w.Store.View(ctx, func(tx store.ReadTx) (err error) {
		if doc, err = tx.Get(strings.ToLower(resource)); err != nil {
			return err
		}
		c, err = changeFor(&assignment.World{Tx: tx, Now: w.Now(), Facts: cfg.Facts}, u, doc)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // gone: there is nothing to put right
	}
	if err != nil || c == nil {
		return err
	}
	if c.tags != nil {
		return c.tags.apply(ctx, client, doc.ARMID())
	}
	_, err = client.Replace(ctx, doc.ARMID(), doc.ETag, c.body)
	return err
}

// change is what puts a resource right: tags, if the policy changes nothing else, or
// the whole document.
type change struct {
	tags *retag
	body json.RawMessage
}

// changeFor is what the policy wants changed; nil if the document complies by now.
func changeFor(world *assignment.World, u *assignment.Unit, doc *store.Document) (*change, error) {
	s, err := world.Subject(doc, "")
	if err != nil {
		return nil, err
	}
	v, _, err := u.Evaluate(s)
	if err != nil || v.State != policy.Hit || v.Changes == nil {
		return nil, err
	}
	changed, conflicts := policy.Apply(s.Resource, policy.Assigned{ID: u.Assignment.ID.String(), Changes: v.Changes})
	if len(conflicts) > 0 {
		return nil, arm.Errorf(http.StatusConflict, "RemediationConflict", "'%s' cannot be changed: %s.", conflicts[0].Field, conflicts[0].Reason)
	}
	root := changed.Root().AsPlain()
	for _, o := range v.Changes.Operations {
		if f := strings.ToLower(o.Field); f != "tags" && !strings.HasPrefix(f, "tags.") && !strings.HasPrefix(f, "tags[") {
			return &change{body: json.RawMessage(root.JSON())}, nil
		}
	}
	if r := tagsFrom(doc.Tags, root.Find(value.NewKey("tags"))); r != nil {
		return &change{tags: r}, nil
	}
	return &change{body: json.RawMessage(root.JSON())}, nil
}

// retag is a change of tags alone. It goes through Microsoft.Resources/tags, so that the
// right to write tags (Tag Contributor) is enough for it.
type retag struct{ set, drop map[string]string }

// tagsFrom is how tags become others; nil if those are not tags.
func tagsFrom(old map[string]string, next value.Value) *retag {
	r := &retag{set: map[string]string{}, drop: map[string]string{}}
	kept := map[string]bool{}
	for i := range next.Len() {
		name, v := next.Key(i), next.At(i)
		if v.Kind() != value.String {
			return nil
		}
		kept[strings.ToLower(name)] = true
		if was, ok := old[name]; !ok || was != v.Str() {
			r.set[name] = v.Str()
		}
	}
	for name, v := range old {
		if !kept[strings.ToLower(name)] {
			r.drop[name] = v
		}
	}
	return r
}

func (r *retag) apply(ctx context.Context, client provider.Client, id arm.ID) error {
	for _, step := range []struct {
		operation string
		tags      map[string]string
	}{{"Delete", r.drop}, {"Merge", r.set}} {
		if len(step.tags) == 0 {
			continue
		}
		body := map[string]any{"operation": step.operation, "properties": map[string]any{"tags": step.tags}}
		if _, err := client.Patch(ctx, id.Resource(typeTags, "default"), body); err != nil {
			return err
		}
	}
	return nil
}
