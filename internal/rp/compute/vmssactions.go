package compute

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
)

const (
	askUpgrade = "upgrade" // to the model
	askReimage = "reimage" // the same, with a fresh system disk
	askDelete  = "delete"

	actionCancelUpgrade = "cancelRollingUpgrade"
)

// round is what a set asks of its members, all of them at the same time or in batches.
type round struct {
	Ask string `json:"ask"`
	// Left have not been asked yet, Asked have; both are names.
	Left  []string `json:"left,omitempty"`
	Asked []string `json:"asked,omitempty"`
	// Refused is who would not, and why.
	Refused      []*arm.Error `json:"refused,omitempty"`
	SkipShutdown bool         `json:"skipShutdown,omitempty"`
	// Named: the client has named the members, it did not mean all.
	Named bool `json:"named,omitempty"`
	// Rolling, if set, makes it a rolling upgrade.
	Rolling *rollingRound `json:"rolling,omitempty"`
}

func (s *service) setActions() []provider.Action {
	actions := []provider.Action{
		{Name: "instanceView", Method: "GET", Apply: s.viewOfSet},
		{Name: "skus", Method: "GET", Apply: skusOfSet},
		{Name: "osUpgradeHistory", Method: "GET", Apply: upgradeHistory},
		{Name: "manualupgrade", Async: true, Apply: asking(askUpgrade, true)},
		{Name: "reimageall", Async: true, Apply: asking(askReimage, false)},
		{Name: "delete", Async: true, Apply: deleteInstances},
		{Name: "osRollingUpgrade", Async: true, Apply: startRollingUpgrade},
		{Name: actionCancelUpgrade, WhileBusy: true, Apply: cancelUpgrade},
	}
	for _, name := range []string{"start", "powerOff", "deallocate", "restart", "redeploy", "reapply", askReimage} {
		actions = append(actions, provider.Action{Name: name, Async: true, Apply: asking(name, false)})
	}
	return actions
}

// asking is an action that asks members for something: those that are named, or all.
func asking(ask string, mustName bool) func(context.Context, *provider.Write) (any, error) {
	return func(ctx context.Context, w *provider.Write) (any, error) {
		names, named, err := chosen(ctx, w, mustName)
		if err != nil {
			return nil, err
		}
		_, p := readSet(w.Doc)
		p.Round = &round{Ask: ask, Left: names, Named: named, SkipShutdown: strings.EqualFold(w.Query.Get("skipshutdown"), "true")}
		return nil, setPrivate(w.Doc, p)
	}
}

// chosen are the instance ids that a request names; all, and not named, for "*" or, unless
// the action demands names, for none.
func chosen(ctx context.Context, w *provider.Write, mustName bool) (names []string, named bool, err error) {
	var in struct{ InstanceIDs []string }
	if len(w.Request) > 0 {
		if err := json.Unmarshal(w.Request, &in); err != nil {
			return nil, false, arm.BadRequest(arm.CodeInvalidRequestContent, "instanceIds", "The request cannot be read: %v.", err)
		}
	}
	if len(in.InstanceIDs) == 0 && mustName {
		return nil, false, arm.BadRequest(arm.CodeInvalidParameter, "instanceIds", "Required parameter 'instanceIds' is missing (null). Name instances, or all with \"*\".")
	}
	all, err := memberNames(ctx, w)
	if err != nil || len(in.InstanceIDs) == 0 || slices.Contains(in.InstanceIDs, "*") {
		return all, false, err
	}
	var errs []*arm.Error
	for _, id := range in.InstanceIDs {
		i := slices.IndexFunc(all, func(name string) bool { return strings.EqualFold(name, id) })
		switch {
		case i < 0:
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "instanceIds", "The provided instanceId %s is not an active Virtual Machine Scale Set VM instanceId. The scale set has: %s.", id, strings.Join(all, ", ")))
		case !slices.Contains(names, all[i]):
			names = append(names, all[i])
		}
	}
	return names, true, arm.Join(errs)
}

// memberNames are the names of the members that are not on their way out. The set itself
// has been authorised; what it consists of is no secret to who may act on it.
func memberNames(ctx context.Context, w *provider.Write) (names []string, err error) {
	items, err := w.Client.As(identity.System).List(ctx, w.ID, TypeInstance)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if arm.GetString(item, "properties.provisioningState") != string(arm.StateDeleting) {
			names = append(names, arm.GetString(item, "instanceId"))
		}
	}
	return names, nil
}

func deleteInstances(ctx context.Context, w *provider.Write) (any, error) {
	names, _, err := chosen(ctx, w, true)
	if err != nil {
		return nil, err
	}
	b, p := readSet(w.Doc)
	p.Round = &round{Ask: askDelete, Left: names}
	if err := apply(w.Doc, edit{pathCapacity, max(0, b.SKU.Capacity-len(names)), false}); err != nil {
		return nil, err
	}
	return nil, setPrivate(w.Doc, p)
}

// startRollingUpgrade moves all instances to what the model's image means now.
func startRollingUpgrade(ctx context.Context, w *provider.Write) (any, error) {
	names, _, err := chosen(ctx, w, false)
	if err != nil {
		return nil, err
	}
	b, p := readSet(w.Doc)
	if b.upgrades(manual) || b.Properties.UpgradePolicy.Mode == "" {
		return nil, arm.Conflict("OperationNotAllowed", w.ID.String(), "Rolling upgrades are not possible on scale set '%s', since its upgrade mode is Manual. Set upgradePolicy.mode to Automatic or Rolling, or update instances by name.", w.ID.Name())
	}
	p.Round = rollingOver(names, b, w.Now)
	return nil, setPrivate(w.Doc, p)
}

func cancelUpgrade(_ context.Context, w *provider.Write) (any, error) {
	_, p := readSet(w.Doc)
	if p.Round == nil || p.Round.Rolling == nil {
		return nil, arm.Conflict("OperationNotAllowed", w.ID.String(), "There is no ongoing Rolling Upgrade to cancel.")
	}
	p.Round.Rolling.Canceled = true
	return nil, setPrivate(w.Doc, p)
}
