package machine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/disk"
	"hallmark.dev/hallmark/internal/network"
	"hallmark.dev/hallmark/internal/vm"
)

var _ build.VMRunner = (*Runner)(nil)

// Limits of what is not the step's own time. They are generous: translated
// instructions on a busy host are slow.
const (
	bootTimeout     = 15 * time.Minute
	shutdownTimeout = 5 * time.Minute
)

// Network puts a machine on the instance's bridge; *network.Network is one.
type Network interface {
	Attach(ctx context.Context, p network.Port) (tap string, err error)
	Detach(ctx context.Context, machine string) error
}

// Runner boots a machine for each step. Fill in the fields before the first use;
// steps may run at the same time, one for each address.
type Runner struct {
	// Dir holds the machines' folders and nothing else. A machine that is found
	// there at the start of the process was left by a crash: see Sweep.
	Dir     string
	Network Network
	Subnet  netip.Prefix // of the bridge
	Gateway netip.Addr
	// Addresses are for these machines alone.
	Addresses   []netip.Addr
	Nameservers []netip.Addr
	Accel       vm.Accel
	CPUs        int // 0 is one
	MemoryMiB   int // 0 is 1024

	mu   sync.Mutex
	used map[netip.Addr]bool
}

// RunStep is build.VMRunner's.
func (r *Runner) RunStep(ctx context.Context, s build.VMStep) (code int, err error) {
	address, release, err := r.claim()
	if err != nil {
		return -1, err
	}
	defer release()
	a, err := newAccess()
	if err != nil {
		return -1, err
	}
	id := newID(s.Run)
	defer func() { err = errors.Join(err, r.remove(context.WithoutCancel(ctx), id)) }()
	m, err := r.create(ctx, id, s, address, a)
	if err != nil {
		return -1, err
	}
	if err := m.Start(ctx); err != nil {
		return -1, err
	}
	return drive(ctx, m, a, address, s)
}

// drive takes a machine from its boot to its end.
func drive(ctx context.Context, m *vm.Machine, a access, address netip.Addr, s build.VMStep) (int, error) {
	g, err := await(ctx, m, a, address)
	if err != nil {
		return -1, withConsole(m, err)
	}
	defer g.close()
	code, err := g.step(ctx, s)
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), build.ErrTimeout) {
		return -1, context.Cause(ctx) // nobody wants the overlay: the plug is pulled
	}
	// Also after a failure: the state is kept, and has to be whole.
	return code, errors.Join(err, shutDown(context.WithoutCancel(ctx), m, g))
}

func shutDown(ctx context.Context, m *vm.Machine, g *guest) error {
	ctx, cancel := context.WithTimeoutCause(ctx, shutdownTimeout, fmt.Errorf("the machine did not shut down within %v", shutdownTimeout))
	defer cancel()
	if err := g.leave(ctx); err != nil {
		return withConsole(m, err)
	}
	if err := m.Wait(ctx); err != nil {
		return withConsole(m, err)
	}
	return nil
}

// withConsole adds what the machine said last.
func withConsole(m *vm.Machine, err error) error {
	text, readErr := m.ReadConsole(2000)
	if readErr != nil || len(text) == 0 {
		return err
	}
	return fmt.Errorf("%w; the end of the machine's console:\n%s", err, strings.ToValidUTF8(strings.TrimSpace(string(text)), "?"))
}

// create makes the machine's folder and its place on the network.
func (r *Runner) create(ctx context.Context, id string, s build.VMStep, address netip.Addr, a access) (*vm.Machine, error) {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, err
	}
	tap, err := r.Network.Attach(ctx, network.Port{Machine: id, MAC: network.MAC(id), Address: address})
	if err != nil {
		return nil, err
	}
	cfg := vm.Config{ID: id, Name: id, CPUs: r.CPUs, MemoryMiB: r.MemoryMiB, Accel: r.Accel,
		Disks: []vm.Disk{{Path: s.Image, Format: disk.QCOW2}}, NIC: &vm.NIC{Tap: tap, MAC: network.MAC(id)}}
	seed := &vm.Seed{InstanceID: id, Hostname: "localhost", CustomData: a.cloudConfig(), Network: &vm.SeedNetwork{MAC: network.MAC(id),
		Address: netip.PrefixFrom(address, r.Subnet.Bits()), Gateway: r.Gateway, DNS: r.Nameservers}}
	// The folder gets a system disk of its own, which nothing uses.
	return vm.Create(ctx, filepath.Join(r.Dir, id), cfg, vm.Image{Path: s.Image, Format: disk.QCOW2}, seed)
}

// remove takes everything away that a machine had on this host; what is gone is
// fine.
func (r *Runner) remove(ctx context.Context, id string) error {
	m, err := vm.Open(filepath.Join(r.Dir, id))
	switch {
	case err == nil:
		err = m.Destroy(ctx)
	case errors.Is(err, vm.ErrNotFound):
		err = nil
	}
	return errors.Join(err, r.Network.Detach(ctx, id))
}

// Sweep ends and removes the machines that a killed process left, before anybody
// touches the overlays that they may still write to. Call it once, before the
// first build and before the builder's own Sweep. It answers what it removed. A
// device whose machine is gone already is left to the network's own sweep.
func (r *Runner) Sweep(ctx context.Context) ([]string, error) {
	left, err := vm.List(r.Dir)
	if err != nil {
		return nil, err
	}
	removed, err := vm.Sweep(ctx, r.Dir, func(vm.Config) bool { return false })
	for _, m := range left {
		err = errors.Join(err, r.Network.Detach(ctx, m.Config().ID))
	}
	return removed, err
}

// Addresses are the highest count addresses of a bridge's network: whoever hands
// out addresses to other machines leaves them out, and begins at the other end.
func Addresses(subnet netip.Prefix, count int) []netip.Addr {
	bytes := subnet.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(bytes[:]) | (1<<(32-subnet.Bits()) - 1) // for broadcasts
	var all []netip.Addr
	for i := range count {
		binary.BigEndian.PutUint32(bytes[:], last-1-uint32(i))
		all = append(all, netip.AddrFrom4(bytes))
	}
	return all
}

// claim takes an address that no machine has.
func (r *Runner) claim() (address netip.Addr, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil {
		r.used = map[netip.Addr]bool{}
	}
	for _, a := range r.Addresses {
		if !r.used[a] {
			r.used[a] = true
			return a, func() { r.mu.Lock(); defer r.mu.Unlock(); delete(r.used, a) }, nil
		}
	}
	return address, nil, fmt.Errorf("%w: %d machines run build steps already; build fewer images at the same time", network.ErrExhausted, len(r.Addresses))
}

// newID names a machine. Names of machines have at most 64 characters.
func newID(run string) string {
	var b [4]byte
	rand.Read(b[:])
	return "step-" + strings.Trim(run[:min(len(run), 40)], "._-") + "-" + hex.EncodeToString(b[:])
}
