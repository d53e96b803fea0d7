package resources

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// recheck is how soon a group looks again at what it waits for, should no removal
// wake it before.
const recheck = 5 * time.Second

// reconcileGroup has something to do only when the group is to go: delete everything
// in it, and then the group.
func reconcileGroup(ctx context.Context, w *provider.Work) (time.Duration, error) {
	if w.Doc.Deleting {
		return empty(ctx, w)
	}
	return 0, nil
}

// groupOf is the key of the group that a removed document was in.
func groupOf(key string) []string {
	seg := strings.SplitN(key, "/", 6) // "", subscriptions, S, resourcegroups, G, rest
	if len(seg) < 6 || seg[3] != "resourcegroups" {
		return nil
	}
	return []string{strings.Join(seg[:5], "/")}
}

func empty(ctx context.Context, w *provider.Work) (time.Duration, error) {
	docs, err := store.List(ctx, w.Store, store.Query{Prefix: w.Doc.Key + "/"})
	if err != nil {
		return 0, err
	}
	if len(docs) == 0 {
		return 0, w.Remove(ctx)
	}
	refused, going := deleteAll(ctx, w, docs)
	if going || len(refused) == 0 {
		return recheck, nil
	}
	return 0, w.Update(ctx, func(d *provider.Draft) {
		d.AbortDelete(arm.StateSucceeded, &arm.Error{Code: "ResourceGroupDeletionBlocked", Target: w.ID.String(), Details: refused,
			Message: "Deletion of resource group '" + w.ID.Name() + "' did not finish: some of its resources could not be deleted. See details; remove what stands against it and delete the group again."})
	})
}

// deleteAll asks for every resource to go, the innermost first, and reports what
// was refused and whether anything is on its way out.
func deleteAll(ctx context.Context, w *provider.Work, docs []*store.Document) (refused []*arm.Error, going bool) {
	slices.SortStableFunc(docs, func(a, b *store.Document) int {
		return cmp.Compare(strings.Count(b.Key, "/"), strings.Count(a.Key, "/"))
	})
	for _, d := range docs {
		if d.Deleting {
			going = true
			continue
		}
		if err := w.Client.Delete(ctx, d.ARMID()); err != nil {
			e := *arm.AsError(err)
			e.Target = d.ID
			refused = append(refused, &e)
			continue
		}
		going = true
	}
	return refused, going
}
