package compute

import (
	"context"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/store"
)

// Sweep removes machines, volumes and taps that no document names: what a process left
// that was killed, or a store that was put back from a backup. Call it once at start,
// before any controller runs; what documents name is Reconcile's to look after.
func Sweep(ctx context.Context, cfg Config, st store.Store) error {
	keep := map[string]bool{}
	var ports []string
	err := st.View(ctx, func(tx store.ReadTx) error {
		clear(keep)
		ports = ports[:0]
		return named(tx, keep, &ports)
	})
	if err != nil {
		return fmt.Errorf("reading what machines there are: %w", err)
	}
	wanted := func(name string) bool { return keep[name] }
	// Machines first: they have volumes and taps open.
	return errors.Join(cfg.Machines.Sweep(ctx, wanted), cfg.Volumes.Sweep(ctx, wanted), cfg.Network.Sweep(ctx, ports))
}

// named collects the names of machines and volumes, and the ports of machines.
func named(tx store.ReadTx, keep map[string]bool, ports *[]string) error {
	for _, t := range machineTypes {
		err := store.Each(tx, store.Query{Type: t}, func(d *store.Document) error {
			_, p := readVM(d)
			keep[p.Machine] = true
			*ports = append(*ports, p.Machine)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return store.Each(tx, store.Query{Type: TypeDisk}, func(d *store.Document) error {
		_, p := readDisk(d)
		keep[p.Volume] = true
		keep[p.Stale] = p.Stale != ""
		return nil
	})
}
