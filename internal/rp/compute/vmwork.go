package compute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// errWaiting says that another document has to get somewhere first; its change
// calls Reconcile again.
var errWaiting = errors.New("waiting for a disk")

// errDeleting cuts a wait short: the machine is to be deleted.
var errDeleting = errors.New("the machine is being deleted")

// vmWork is one pass over one machine.
type vmWork struct {
	*service
	*provider.Work
	body     vmBody
	state    vmState
	progress string // of the disks that are waited for
}

func (s *service) reconcileVM(ctx context.Context, w *provider.Work) (time.Duration, error) {
	v := &vmWork{service: s, Work: w}
	v.body, v.state = readVM(w.Doc)
	if w.Doc.Deleting {
		return 0, v.tearDown(ctx)
	}
	ctx, stop := interruptible(ctx, w)
	defer stop()
	again, err := v.pass(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errDeleting) {
		return 0, nil // the delete calls again
	}
	return again, err
}

func (v *vmWork) pass(ctx context.Context) (time.Duration, error) {
	if v.Doc.State().Terminal() {
		return v.watchOver(ctx)
	}
	v.noteEnd()
	err := v.bringUp(ctx)
	switch {
	case errors.Is(err, errWaiting):
		return lookAgain, v.showProgress(ctx)
	case err != nil:
		return 0, v.fail(ctx, err)
	}
	return lookAgain, v.settle(ctx, true)
}

// interruptible is a context that also ends when the document is marked for deletion.
func interruptible(ctx context.Context, w *provider.Work) (context.Context, func()) {
	changed, st, key := controller.Changed(ctx), w.Store, w.Doc.Key // w.Doc changes while this looks
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				if d, err := store.Get(ctx, st, key); err == nil && d.Deleting {
					cancel(errDeleting)
				}
			}
		}
	})
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}

// showProgress says on the machine what it waits for.
func (v *vmWork) showProgress(ctx context.Context) error {
	return v.Update(ctx, func(d *provider.Draft) {
		if v.progress == "" {
			d.Unset(pathProgress)
			return
		}
		d.Set(pathProgress, v.progress)
	})
}

// save records the pass's state; nothing is written if nothing changed.
func (v *vmWork) save(ctx context.Context) error {
	return v.Update(ctx, func(d *provider.Draft) { d.SetPrivate(v.state) })
}

// settle records that the machine is where it should be.
func (v *vmWork) settle(ctx context.Context, ended bool) error {
	v.state.Reached, v.state.Born, v.state.Error = v.state.Want, true, nil
	system, err := v.systemDisk(ctx)
	if err != nil {
		return err
	}
	return v.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(v.state)
		d.Unset(pathProgress)
		d.Set("properties.storageProfile.osDisk.diskSizeGB", system.Properties.DiskSizeGB)
		if h := system.Properties.Hallmark.BackingDigest; h != "" {
			d.Set("properties.hallmark.backingDigest", h)
		}
		if v.state.Want == running {
			d.Set("properties.hallmark.accelerator", v.Machines.Accelerator())
		}
		if ended {
			profile, _ := arm.Get(d.Doc.Body, "properties.storageProfile")
			d.End(actionAttachDetach, profile, nil)
			d.Succeed()
		}
	})
}

func (v *vmWork) systemDisk(ctx context.Context) (f facts, err error) {
	id, err := arm.ParseID(v.body.Properties.StorageProfile.OSDisk.ManagedDisk.ID)
	if err != nil {
		return f, err
	}
	return getFacts(ctx, v.Client, id)
}

// bringUp takes the machine from wherever it is to what is wanted. Each step finds out
// by itself whether it has been done, and records what it is about to do first.
func (v *vmWork) bringUp(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		v.decideInterface, v.claim, v.halt, v.exchangeDisks, v.letGo, v.reimage, v.giveBack, v.run, v.reapply,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// claim makes and joins everything that the document says the machine has.
func (v *vmWork) claim(ctx context.Context) error {
	attached := v.body.attached()
	joined := slices.Clone(v.state.Joined)
	for _, id := range attached {
		if !slices.Contains(joined, id) {
			joined = append(joined, id)
		}
	}
	v.state.Joined = joined
	if err := v.save(ctx); err != nil {
		return err
	}
	for _, n := range v.body.Properties.NetworkProfile.NetworkInterfaces {
		if err := v.claimInterface(ctx, n.ID); err != nil {
			return err
		}
	}
	return v.claimDisks(ctx)
}

func (v *vmWork) self() map[string]any {
	return map[string]any{"virtualMachine": map[string]string{"id": v.Doc.ID}}
}

func (v *vmWork) claimDisks(ctx context.Context) error {
	var waiting error
	for i, d := range v.body.disks() {
		err := v.claimDisk(ctx, d, i == 0)
		if err != nil && !errors.Is(err, errWaiting) {
			return err
		}
		waiting = cmp.Or(waiting, err) // let the other disks be made at the same time
	}
	return waiting
}

func (v *vmWork) claimDisk(ctx context.Context, d vmDisk, system bool) error {
	id, err := arm.ParseID(d.ManagedDisk.ID)
	if err != nil {
		return err
	}
	doc, err := store.Get(ctx, v.Store, id.Key())
	if errors.Is(err, store.ErrNotFound) && !strings.EqualFold(d.CreateOption, "Attach") {
		if _, err := v.Client.Put(ctx, id, v.newDisk(d, system)); err != nil {
			return err
		}
		return errWaiting
	}
	if errors.Is(err, store.ErrNotFound) {
		return arm.NotFound(id)
	}
	if err != nil {
		return err
	}
	b, p := readDisk(doc)
	switch {
	case p.Error != nil && doc.State().Terminal():
		return p.Error
	case !p.Made || !doc.State().Terminal():
		v.progress = cmp.Or(v.progress, arm.GetString(doc.Body, pathProgress))
		return errWaiting
	case strings.EqualFold(b.ManagedBy, v.Doc.ID):
		return nil
	}
	_, err = v.Client.Post(ctx, id, actionJoin, v.self())
	return err
}

func (v *vmWork) newDisk(d vmDisk, system bool) map[string]any {
	properties := map[string]any{"creationData": map[string]any{"createOption": "Empty"}}
	if id := d.SourceResource.ID; id != "" && strings.EqualFold(d.CreateOption, "Copy") {
		properties["creationData"] = map[string]any{"createOption": "Copy", "sourceResourceId": id}
	}
	if system {
		properties["creationData"] = creationOf(v.state.ImageID)
		properties["osType"] = cmp.Or(d.OSType, "Linux")
	}
	if d.DiskSizeGB > 0 {
		properties["diskSizeGB"] = d.DiskSizeGB
	}
	return map[string]any{"location": v.Doc.Location, "tags": v.Doc.Tags, "managedBy": v.Doc.ID,
		"sku": map[string]string{"name": d.ManagedDisk.StorageAccountType}, "properties": properties}
}

// halt stops the machine when it should not run, or has to be started anew.
func (v *vmWork) halt(ctx context.Context) error {
	size, _ := v.size(v.body.Properties.HardwareProfile.VMSize)
	resized := v.state.MemoryMiB != 0 && v.state.Size != size.Name
	if v.state.Want == running && !v.state.Restart && !v.state.Reimage && !resized {
		return nil
	}
	v.state.Reached = "" // from here on, that it does not run does not mean that it ended by itself
	if err := v.save(ctx); err != nil {
		return err
	}
	grace := shutdownGrace
	if v.state.SkipShutdown || v.state.Reimage {
		grace = 0
	}
	if err := v.Machines.Stop(ctx, v.state.Machine, grace); err != nil {
		return fmt.Errorf("stopping the machine: %w", err)
	}
	v.state.Restart, v.state.SkipShutdown = false, false
	return v.save(ctx)
}

// exchangeDisks plugs data disks in and out of a machine that runs: before it lets go of a disk
// that another may take.
func (v *vmWork) exchangeDisks(ctx context.Context) error {
	if !v.Machines.Running(v.state.Machine) {
		return nil
	}
	m, err := v.describe(ctx)
	if err != nil {
		return err
	}
	return v.Machines.SetDisks(ctx, m)
}

// reapply has the extensions run again after a reimage; those that have, or that are at it, say
// so themselves.
func (v *vmWork) reapply(ctx context.Context) error {
	if !v.state.Reapply || v.state.Want != running {
		return nil
	}
	all, err := store.List(ctx, v.Store, store.Query{Type: TypeExtension, Prefix: v.Doc.Key + "/extensions/"})
	if err != nil {
		return err
	}
	for _, d := range all {
		if _, err := v.Client.Post(ctx, d.ARMID(), actionReapply, map[string]int{"instance": v.state.Instance}); err != nil && !arm.IsNotFound(err) && !d.Deleting {
			return fmt.Errorf("having %s run again: %w", d.ID, err)
		}
	}
	v.state.Reapply = false
	return v.save(ctx)
}

// letGo leaves what the document no longer has; the machine, if it runs, has been unplugged from
// it.
func (v *vmWork) letGo(ctx context.Context) error {
	attached := v.body.attached()
	for _, id := range slices.Clone(v.state.Joined) {
		if slices.Contains(attached, id) {
			continue
		}
		if err := v.leave(ctx, id); err != nil {
			return err
		}
		v.state.Joined = slices.DeleteFunc(v.state.Joined, func(other string) bool { return other == id })
	}
	if err := v.discard(ctx); err != nil {
		return err
	}
	return v.save(ctx)
}

func (v *vmWork) leave(ctx context.Context, id string) error {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return nil // nothing that could have been joined
	}
	d, err := store.Get(ctx, v.Store, parsed.Key())
	if errors.Is(err, store.ErrNotFound) || err == nil && d.Deleting {
		return nil // an earlier pass has let go of it
	}
	if err != nil {
		return err
	}
	if _, err := v.Client.Post(ctx, parsed, actionLeave, v.self()); err != nil && !arm.IsNotFound(err) {
		return fmt.Errorf("letting go of %s: %w", id, err)
	}
	return nil
}

// reimage has the system disk made anew; that it is asked for twice after a crash
// costs a volume that nothing has been written to.
func (v *vmWork) reimage(ctx context.Context) error {
	if !v.state.Reimage {
		return nil
	}
	id, err := arm.ParseID(v.body.Properties.StorageProfile.OSDisk.ManagedDisk.ID)
	if err != nil {
		return err
	}
	self := v.self()
	self["imageId"] = v.state.ImageID
	if _, err := v.Client.Post(ctx, id, actionReset, self); err != nil {
		return err
	}
	v.state.Reimage, v.state.Reapply = false, true
	v.state.Instance++
	if err := v.save(ctx); err != nil {
		return err
	}
	return errWaiting
}

// giveBack lets go of what a deallocated machine does not need.
func (v *vmWork) giveBack(ctx context.Context) error {
	if v.state.Want != deallocated {
		return nil
	}
	if err := v.unplug(ctx); err != nil {
		return err
	}
	v.state.MemoryMiB, v.state.Size = 0, ""
	return v.save(ctx)
}

// run starts the machine: memory first, then the taps, then the process.
func (v *vmWork) run(ctx context.Context) error {
	if v.state.Want != running {
		return nil
	}
	if err := v.reserveMemory(ctx); err != nil {
		return err
	}
	m, err := v.machine(ctx)
	if err != nil {
		return err
	}
	if err := v.Machines.Start(ctx, m); err != nil {
		return fmt.Errorf("starting the machine: %w", err)
	}
	return nil
}

// reserveMemory takes the memory of the machine's size, unless all machines
// together would have more than there is.
func (v *vmWork) reserveMemory(ctx context.Context) error {
	v.reserving.Lock()
	defer v.reserving.Unlock()
	size, ok := v.size(v.body.Properties.HardwareProfile.VMSize)
	if !ok {
		return arm.BadRequest(arm.CodeInvalidParameter, "properties.hardwareProfile.vmSize", "The size %s is not configured any more.", v.body.Properties.HardwareProfile.VMSize)
	}
	used, err := v.memoryOfOthers(ctx)
	if err != nil {
		return err
	}
	if used+size.memory() > v.Memory {
		return arm.Conflict("AllocationFailed", v.Doc.ID, "Allocation failed: size %s needs %d MiB of memory, and %d MiB of the %d MiB for machines are left (%d MiB are allocated to others). Deallocate machines that nobody needs, or choose a smaller size.",
			size.Name, size.memory(), max(0, v.Memory-used), v.Memory, used)
	}
	v.state.MemoryMiB, v.state.Size, v.state.BootID = size.memory(), size.Name, v.BootID
	return v.save(ctx)
}

func (v *vmWork) memoryOfOthers(ctx context.Context) (used int64, err error) {
	for _, t := range machineTypes {
		all, err := store.List(ctx, v.Store, store.Query{Type: t})
		if err != nil {
			return 0, err
		}
		for _, d := range all {
			if _, other := readVM(d); d.Key != v.Doc.Key {
				used += other.MemoryMiB
			}
		}
	}
	return used, nil
}

// machine plugs the interfaces in and describes the machine for its engine.
func (v *vmWork) machine(ctx context.Context) (Machine, error) {
	m, err := v.describe(ctx)
	if err != nil {
		return m, err
	}
	m.Interface, err = v.plug(ctx)
	return m, err
}

// describe is the machine without its interface.
func (v *vmWork) describe(ctx context.Context) (Machine, error) {
	size, _ := v.size(v.state.Size)
	m := Machine{Name: v.state.Machine, Label: machineName(v.ID), VCPUs: size.Granted.VCPUs, MemoryMiB: size.Granted.MemoryMiB, Guest: v.guest()}
	var err error
	if m.Guest.CustomData, err = v.open(v.state.CustomData); err != nil {
		return m, fmt.Errorf("opening the custom data of %s: %w", v.ID, err)
	}
	for _, d := range v.body.disks() {
		id, err := arm.ParseID(d.ManagedDisk.ID)
		if err != nil {
			return m, err
		}
		doc, err := store.Get(ctx, v.Store, id.Key())
		if err != nil {
			return m, fmt.Errorf("reading the disk %s: %w", id, err)
		}
		_, p := readDisk(doc)
		m.Disks = append(m.Disks, MachineDisk{Path: v.Volumes.File(p.Volume), LUN: lun(d)})
	}
	return m, nil
}

func lun(d vmDisk) int {
	if d.LUN == nil {
		return 0
	}
	return *d.LUN
}

func (v *vmWork) guest() Guest {
	g := Guest{InstanceID: v.state.Machine, Hostname: cmp.Or(v.body.computerName(), hostNameOf(machineName(v.ID))), PasswordHash: v.state.PasswordHash,
		Specialized: v.state.Specialized || v.body.Properties.OSProfile == nil}
	if v.state.Instance > 0 {
		g.InstanceID = fmt.Sprintf("%s-%d", v.state.Machine, v.state.Instance)
	}
	o := v.body.Properties.OSProfile
	if o == nil {
		return g
	}
	g.AdminUser, g.PasswordLogin = o.AdminUsername, v.state.PasswordHash != ""
	if c := o.LinuxConfiguration; c != nil {
		g.PasswordLogin = g.PasswordLogin && !c.DisablePasswordAuthentication
		for _, k := range c.SSH.PublicKeys {
			g.SSHKeys = append(g.SSHKeys, strings.TrimSpace(k.KeyData))
		}
	}
	return g
}

func (v *vmWork) plug(ctx context.Context) (MachineInterface, error) {
	id, err := arm.ParseID(v.body.Properties.NetworkProfile.NetworkInterfaces[0].ID)
	if err != nil {
		return MachineInterface{}, err
	}
	body, err := v.Client.Get(ctx, id)
	if err != nil {
		return MachineInterface{}, err
	}
	mac, address, err := addressOf(body)
	if err != nil {
		return MachineInterface{}, fmt.Errorf("reading the interface %s: %w", id, err)
	}
	tap, err := v.Network.Attach(ctx, v.state.Machine, mac, address)
	if err != nil {
		return MachineInterface{}, fmt.Errorf("connecting the machine to the network: %w", err)
	}
	return MachineInterface{Tap: tap, MAC: mac, Address: netip.PrefixFrom(address, v.Subnet.Bits()), Gateway: v.Gateway, Nameservers: v.Nameservers}, nil
}

func addressOf(nic json.RawMessage) (mac string, a netip.Addr, err error) {
	var n struct {
		Properties struct {
			MACAddress       string
			IPConfigurations []struct {
				Properties struct{ PrivateIPAddress string }
			}
		}
	}
	if err := json.Unmarshal(nic, &n); err != nil || len(n.Properties.IPConfigurations) == 0 {
		return "", a, errors.Join(errors.New("it has no IP configuration"), err)
	}
	hardware, err := net.ParseMAC(n.Properties.MACAddress)
	if err != nil {
		return "", a, err
	}
	a, err = netip.ParseAddr(n.Properties.IPConfigurations[0].Properties.PrivateIPAddress)
	return hardware.String(), a, err
}

func (v *vmWork) unplug(ctx context.Context) error {
	if err := v.Network.Detach(ctx, v.state.Machine); err != nil {
		return fmt.Errorf("disconnecting the machine from the network: %w", err)
	}
	return nil
}

// fail ends a pass that cannot succeed. The machine keeps what it has claimed, as in Azure,
// but no memory unless it runs.
func (v *vmWork) fail(ctx context.Context, err error) error {
	e := asFailure(ctx, err, "InternalExecutionError")
	if e == nil {
		return err
	}
	v.Log.WarnContext(ctx, "a machine could not be brought to what is wanted", "vm", v.Doc.ID, "error", err)
	if !v.Machines.Running(v.state.Machine) {
		v.state.MemoryMiB, v.state.Size, v.state.Want, v.state.Reached = 0, "", stopped, stopped
	}
	v.state.Error = e
	return v.Update(ctx, func(d *provider.Draft) {
		d.SetPrivate(v.state)
		d.Unset(pathProgress)
		d.Fail(e)
	})
}
