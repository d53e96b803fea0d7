package compute

import (
	"context"
	"errors"
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
	v.Log.Info("starting a machine that ended with its host", "vm", v.Doc.ID)
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
	return v.Remove(ctx)
}

// deleteWith deletes a disk or interface with its machine. One that the machine never got
// hold of, or that another has taken since, stays.
func (v *vmWork) deleteWith(ctx context.Context, text string) error {
	id, err := arm.ParseID(text)
	if err != nil || !slices.Contains(v.state.Joined, id.Key()) {
		return nil
	}
	err = v.Client.Delete(ctx, id)
	var e *arm.Error
	if errors.As(err, &e) && e.Status < 500 {
		v.Log.Warn("a resource stays although its machine has gone", "vm", v.Doc.ID, "resource", text, "error", err)
		return nil
	}
	return err
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

// decideInterface gives a machine without a network profile an interface of its own.
// (Azure would refuse such a machine.) The id goes into the document first, and
// the interface goes with the machine.
func (v *vmWork) decideInterface(ctx context.Context) error {
	if len(v.body.Properties.NetworkProfile.NetworkInterfaces) > 0 {
		return nil
	}
	id := v.ID.Scope().Resource(typeInterface, v.implicitName()).String()
	err := v.Update(ctx, func(d *provider.Draft) {
		d.Set("properties.networkProfile.networkInterfaces", []any{map[string]any{
			"id": id, "properties": map[string]any{"primary": true, "deleteOption": "Delete"},
		}})
	})
	v.body, _ = readVM(v.Doc)
	return err
}

func (v *vmWork) implicitName() string { return v.ID.Name() + "-nic-" + v.state.Machine[:8] }

func (v *vmWork) claimInterface(ctx context.Context, text string) error {
	id, err := arm.ParseID(text)
	if err != nil {
		return err
	}
	nic, err := v.Client.Get(ctx, id)
	if arm.IsNotFound(err) && id.Name() == v.implicitName() {
		err = v.makeInterface(ctx, id)
	}
	if err != nil || strings.EqualFold(arm.GetString(nic, "properties.virtualMachine.id"), v.Doc.ID) {
		return err
	}
	_, err = v.Client.Post(ctx, id, actionJoin, v.self())
	return err
}

// makeInterface makes the interface, in the group's virtual network for machines that
// named none.
func (v *vmWork) makeInterface(ctx context.Context, id arm.ID) error {
	vnet := id.Scope().Resource(typeVirtualNetwork, "hallmark-"+v.Doc.Location)
	_, err := v.Client.Create(ctx, vnet, map[string]any{"location": v.Doc.Location, "properties": map[string]any{
		"addressSpace": map[string]any{"addressPrefixes": []string{"10.0.0.0/16"}},
		"subnets":      []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": "10.0.0.0/20"}}},
	}})
	var e *arm.Error
	if errors.As(err, &e) && e.Status == 412 {
		err = nil // it is there
	}
	if err != nil {
		return err
	}
	_, err = v.Client.Put(ctx, id, map[string]any{"location": v.Doc.Location, "tags": v.Doc.Tags, "properties": map[string]any{
		"ipConfigurations": []any{map[string]any{"name": "ipconfig", "properties": map[string]any{
			"subnet": map[string]string{"id": vnet.Child("subnets", "default").String()}}}},
	}})
	return err
}
