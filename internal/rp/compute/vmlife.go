package compute

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// watchOver looks after a machine that nobody wants changed: it runs commands, and
// notices that a machine has ended.
//
// A machine that ended while its host went on was powered off from inside, or has
// crashed: it is shown as stopped and not started again, because a machine that somebody
// shut down must stay down. One that ended with its host is started again.
func (v *vmWork) watchOver(ctx context.Context) (time.Duration, error) {
	if v.state.Command != nil {
		return lookAgain, v.runCommand(ctx)
	}
	if v.state.Want != running || v.state.Reached != running {
		return 0, nil
	}
	if v.Machines.Running(v.state.Machine) {
		return lookAgain, nil
	}
	if v.noteEnd() {
		return 0, v.save(ctx)
	}
	v.Log.InfoContext(ctx, "starting a machine that ended with its host", "vm", v.Doc.ID)
	if err := v.bringUp(ctx); err != nil {
		return 0, fmt.Errorf("starting %s after a restart of the host: %w", v.Doc.ID, err)
	}
	return lookAgain, v.settle(ctx, false)
}

// noteEnd takes a machine that ended by itself for one that should be stopped; a change of
// something else must not start it again.
func (v *vmWork) noteEnd() bool {
	if v.state.Want != running || v.state.Reached != running || v.state.Restart || v.state.Reimage ||
		v.state.BootID != v.BootID || v.Machines.Running(v.state.Machine) {
		return false
	}
	v.Log.Info("a machine has ended by itself", "vm", v.Doc.ID)
	v.state.Want, v.state.Reached = stopped, stopped
	return true
}

// tearDown is the second phase of a delete. Everything can be done again.
func (v *vmWork) tearDown(ctx context.Context) error {
	if err := v.Machines.Remove(ctx, v.state.Machine); err != nil {
		return fmt.Errorf("removing the machine: %w", err)
	}
	if err := v.unplug(ctx); err != nil {
		return err
	}
	for _, id := range union(v.state.Joined, v.body.attached()) {
		if err := v.leave(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range v.body.goesWith() {
		if err := v.deleteWith(ctx, id); err != nil {
			return err
		}
	}
	if err := v.deletePublicAddress(ctx); err != nil {
		return err
	}
	if err := v.discard(ctx); err != nil {
		return err
	}
	return v.Remove(ctx)
}

// deleteWith deletes a disk or interface with its machine. One that the machine never got
// hold of, or that another has taken since, stays.
func (v *vmWork) deleteWith(ctx context.Context, text string) error {
	id, err := arm.ParseID(text)
	if err != nil || !slices.Contains(v.state.Joined, id.Key()) {
		return nil
	}
	return v.deleteOwn(ctx, id)
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// decideInterface gives a machine that names no interface one of its own: as its
// configuration says, or without one as seems best. (Azure would refuse such a machine.) The id goes into the document first, and
// the interface goes with the machine.
func (v *vmWork) decideInterface(ctx context.Context) error {
	if len(v.body.Properties.NetworkProfile.NetworkInterfaces) > 0 {
		return nil
	}
	id := v.ownInterface().String()
	option := cmp.Or(arm.GetString(v.state.Interface, "properties.deleteOption"), "Delete")
	err := v.Update(ctx, func(d *provider.Draft) {
		d.Set("properties.networkProfile.networkInterfaces", []any{map[string]any{
			"id": id, "properties": map[string]any{"primary": true, "deleteOption": option},
		}})
	})
	v.body, _ = readVM(v.Doc)
	return err
}

func (v *vmWork) claimInterface(ctx context.Context, text string) error {
	id, err := arm.ParseID(text)
	if err != nil {
		return err
	}
	nic, err := v.Client.Get(ctx, id)
	if arm.IsNotFound(err) && id.Equal(v.ownInterface()) {
		err = v.makeInterface(ctx, id)
	}
	if err != nil || strings.EqualFold(arm.GetString(nic, "properties.virtualMachine.id"), v.Doc.ID) {
		return err
	}
	_, err = v.Client.Post(ctx, id, actionJoin, v.self())
	return err
}
