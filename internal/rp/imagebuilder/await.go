package imagebuilder

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// await waits until a resource that another provider makes has Succeeded.
func (r *runner) await(ctx context.Context, client provider.Client, id arm.ID) error {
	for {
		raw, err := client.Get(ctx, id)
		if err != nil {
			return err
		}
		switch st := arm.ProvisioningState(arm.GetString(raw, "properties.provisioningState")); {
		case st == arm.StateSucceeded:
			return nil
		case st.Terminal():
			return fmt.Errorf("%s ended as %s%s", id, st, r.reason(ctx, id))
		}
		if err := r.sleep(ctx); err != nil {
			return err
		}
	}
}

// reason is what the last operation on a resource said when it failed.
func (r *runner) reason(ctx context.Context, id arm.ID) string {
	ops, err := store.List(ctx, r.w.Store, store.Query{Type: operation.Type, SubscriptionID: id.Subscription()})
	if err != nil {
		return ""
	}
	var last operation.Record
	for _, d := range ops {
		rec, err := operation.Read(d)
		if err == nil && strings.EqualFold(rec.Resource, id.String()) && rec.Error != nil && !rec.StartTime.Before(last.StartTime) {
			last = rec
		}
	}
	if last.Error == nil {
		return ""
	}
	return ": " + last.Error.Message
}

// awaitGone waits until a resource that is being deleted does not exist any more.
func (r *runner) awaitGone(ctx context.Context, client provider.Client, id arm.ID) error {
	for {
		if _, err := client.Get(ctx, id); arm.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		if err := r.sleep(ctx); err != nil {
			return err
		}
	}
}

// sleep waits until it is worth looking again.
func (r *runner) sleep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(r.PollEvery):
		return nil
	}
}
