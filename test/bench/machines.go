package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/vm"
)

const (
	createGoal = 1.5 // seconds until QEMU runs
	together   = 10
	// machineSize has the least memory of all sizes.
	machineSize      = "Standard_B1ls"
	machineMemoryMiB = 512
)

// measureMachines creates machines from a small and a large image, one by one
// and ten at a time, and ends them at once: nothing here waits for a boot.
func (b *bench) measureMachines(ctx context.Context) error {
	p, err := b.imagePlane(ctx)
	if err != nil {
		return err
	}
	small, err := b.smallImage(ctx, p)
	if err != nil {
		return err
	}
	random := "dd if=/dev/urandom of=/var/large bs=1M count=1536 status=none"
	large, err := b.build(ctx, p, "an image with 1.5 GiB more in a disk of 32 GiB", recipe("large", "vmProfile: {osDiskSizeGB: 32}", []string{random}), staged)
	if err != nil {
		return err
	}
	// What the network makes at the first machine is not part of a creation.
	if _, _, err := p.create(ctx, "warm", small); err != nil {
		return err
	}
	var medians []time.Duration
	for _, of := range []struct{ what, version string }{{"4 GiB", small}, {"32 GiB", large.VersionID}} {
		runs, succeeded, err := b.oneByOne(ctx, p, of.version)
		if err != nil {
			return err
		}
		medians = append(medians, runs.median())
		b.table.atMost("creating a machine from an image of "+of.what+" until QEMU runs, slowest of 5, s", runs.quantile(1).Seconds(), createGoal, "%.2f")
		b.table.note("the same, median; until the client sees Succeeded", fmt.Sprintf("%.2f s; %.2f s", runs.median().Seconds(), succeeded.median().Seconds()))
	}
	b.table.note("large image to small image", fmt.Sprintf("%.2f times as long", medians[1].Seconds()/medians[0].Seconds()))
	return b.tenTogether(ctx, p, small)
}

func (b *bench) smallImage(ctx context.Context, p *plane) (string, error) {
	if b.built.first != nil {
		return b.built.first.VersionID, nil
	}
	run, err := b.build(ctx, p, "a small image", recipe("small", "", []string{"true"}), staged)
	if err != nil {
		return "", err
	}
	return run.VersionID, nil
}

func (b *bench) oneByOne(ctx context.Context, p *plane, version string) (runs, succeeded sample, err error) {
	for i := range 5 {
		running, done, err := p.create(ctx, fmt.Sprintf("one-%d", i), version)
		if err != nil {
			return nil, nil, err
		}
		runs, succeeded = append(runs, running), append(succeeded, done)
	}
	return runs, succeeded, nil
}

// create makes a machine, measures from its PUT until QEMU runs and until the
// client sees Succeeded, and deletes the machine again.
func (p *plane) create(ctx context.Context, name, version string) (running, succeeded time.Duration, err error) {
	body, err := p.machine(ctx, name, version)
	if err != nil {
		return 0, 0, err
	}
	id, start := p.vm(name), time.Now()
	started := make(chan error, 1)
	go func() {
		_, err := p.awaitQEMU(ctx, 1)
		running = time.Since(start)
		started <- err
	}()
	err = p.Put(ctx, id, apiCompute, body, nil)
	succeeded = time.Since(start)
	if err != nil {
		return 0, 0, err
	}
	return running, succeeded, errors.Join(<-started, p.Delete(ctx, id, apiCompute))
}

// tenTogether creates ten machines at the same time. Creating them one after
// another, each within its goal, is what it is compared with.
func (b *bench) tenTogether(ctx context.Context, p *plane, version string) error {
	b.say("%d machines at the same time …", together)
	bodies := make([]map[string]any, together)
	name := func(i int) string { return fmt.Sprintf("ten-%d", i) }
	for i := range bodies {
		var err error
		if bodies[i], err = p.machine(ctx, name(i), version); err != nil {
			return err
		}
	}
	before := available()
	start := time.Now()
	created := make(chan error, 1)
	go func() {
		created <- parallel(together, func(i int) error { return p.Put(ctx, p.vm(name(i)), apiCompute, bodies[i], nil) })
	}()
	pids, err := p.awaitQEMU(ctx, together)
	took := time.Since(start)
	resident := 0.0
	for _, pid := range pids {
		resident += residentMiB(pid)
	}
	less := before - available()
	if err := errors.Join(err, <-created); err != nil {
		return err
	}
	b.table.atMost(fmt.Sprintf("%d machines at the same time until each has QEMU, s", together), took.Seconds(), together*createGoal, "%.2f")
	b.table.atMost(fmt.Sprintf("memory of those %d, MiB (%d MiB of them given to guests)", together, together*machineMemoryMiB), resident,
		float64(together)*(machineMemoryMiB+float64(vm.Overhead.MemoryMiB)), "%.0f")
	b.table.note("the host's available memory fell meanwhile by", fmt.Sprintf("%d MiB", less))
	return parallel(together, func(i int) error { return p.Delete(ctx, p.vm(name(i)), apiCompute) })
}

// available is the host's available memory in MiB.
func available() int64 { return kibibytes("/proc/meminfo", "MemAvailable") >> 10 }

// awaitQEMU waits until so many QEMU processes of this instance run: each writes
// its process id once it has set the machine up.
func (p *plane) awaitQEMU(ctx context.Context, n int) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		files, err := filepath.Glob(filepath.Join(p.dir.Machines(), "*", vm.PIDFile))
		if err != nil {
			return nil, err
		}
		var pids []int
		for _, file := range files {
			raw, _ := os.ReadFile(file)
			pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err == nil && pid > 0 && residentMiB(pid) > 0 {
				pids = append(pids, pid)
			}
		}
		if len(pids) >= n {
			return pids, nil
		}
		select {
		case <-ctx.Done():
			return pids, fmt.Errorf("%d of %d machines run: %w", len(pids), n, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *plane) vm(name string) string { return p.resource("Microsoft.Compute/virtualMachines", name) }

// machine makes what a machine stands on and is not measured: its interface in
// a subnet. It returns the machine's document.
func (p *plane) machine(ctx context.Context, name, version string) (map[string]any, error) {
	vnet := p.resource("Microsoft.Network/virtualNetworks", "bench")
	nic := p.resource("Microsoft.Network/networkInterfaces", name)
	subnets := []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": "10.0.0.0/20"}}}
	configuration := map[string]any{"name": "ipconfig", "properties": map[string]any{
		"privateIPAllocationMethod": "Dynamic", "subnet": map[string]any{"id": vnet + "/subnets/default"},
	}}
	for _, put := range []struct {
		id         string
		properties map[string]any
	}{
		{vnet, map[string]any{"addressSpace": map[string]any{"addressPrefixes": []string{"10.0.0.0/16"}}, "subnets": subnets}},
		{nic, map[string]any{"ipConfigurations": []any{configuration}}},
	} {
		if err := p.Put(ctx, put.id, apiNetwork, map[string]any{"location": "eastus", "properties": put.properties}, nil); err != nil {
			return nil, err
		}
	}
	return map[string]any{"location": "eastus", "properties": map[string]any{
		"hardwareProfile": map[string]any{"vmSize": machineSize},
		"storageProfile": map[string]any{"imageReference": map[string]any{"id": version}, "osDisk": map[string]any{
			"createOption": "FromImage", "deleteOption": "Delete", "managedDisk": map[string]any{"storageAccountType": "Premium_LRS"},
		}},
		"osProfile": map[string]any{"computerName": name, "adminUsername": "azureuser", "adminPassword": "not-a-Secret-1",
			"linuxConfiguration": map[string]any{"disablePasswordAuthentication": false}},
		"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{"id": nic, "properties": map[string]any{"primary": true, "deleteOption": "Delete"}}}},
	}}, nil
}
