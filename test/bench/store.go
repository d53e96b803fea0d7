package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

const (
	resources    = 100_000
	resourceSize = 3500 // bytes of the document
	groups       = 200

	getGoal    = 1.0   // ms, median
	listGoal   = 50.0  // ms
	memoryGoal = 200.0 // MiB resident
)

const machineType = "Microsoft.Compute/virtualMachines"

// measureStore fills a control plane's store with 100,000 machines, measures the
// store by itself, and then the server on top of it.
func (b *bench) measureStore(ctx context.Context) (err error) {
	p, err := b.newPlane("store")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove(context.WithoutCancel(ctx))) }()
	// The first start makes the database and the subscription.
	if err := errors.Join(p.up(ctx), p.down(ctx)); err != nil {
		return err
	}
	if err := b.storeAlone(ctx, p); err != nil {
		return err
	}
	return b.serverOnTop(ctx, p)
}

func (b *bench) storeAlone(ctx context.Context, p *plane) error {
	s, err := sqlite.Open(ctx, p.dir.Database())
	if err != nil {
		return err
	}
	defer s.Close()
	start := time.Now()
	if err := p.fill(ctx, s, p.document); err != nil {
		return err
	}
	b.say("%d resources of %.1f KB written in %.1f s", resources, resourceSize/1000.0, time.Since(start).Seconds())
	if err := b.storeReads(ctx, p, s); err != nil {
		return err
	}
	return b.storeWrites(ctx, p, s)
}

// fullPlane starts a server on a store with every resource.
func (b *bench) fullPlane(ctx context.Context, p *plane) error {
	if err := errors.Join(p.up(ctx), p.down(ctx)); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, p.dir.Database())
	if err != nil {
		return err
	}
	if err := errors.Join(p.fill(ctx, s, p.document), s.Close()); err != nil {
		return err
	}
	return p.up(ctx)
}

// fill writes every resource, a thousand in a transaction.
func (p *plane) fill(ctx context.Context, s store.Store, document func(int) *store.Document) error {
	const batch = 1000
	for i := 0; i < resources; i += batch {
		err := s.Update(ctx, func(tx store.Tx) error {
			for j := range batch {
				if err := tx.Put(document(i+j), store.Absent); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// document is machine i as it rests in the store: nothing is left to do for it.
func (p *plane) document(i int) *store.Document {
	id := p.idOf(i)
	now := time.Now().UTC()
	body, _ := json.Marshal(map[string]any{ // nothing in it fails
		"id": id, "name": fmt.Sprintf("vm-%06d", i), "type": machineType, "location": "eastus",
		"tags": map[string]string{"team": fmt.Sprintf("team-%02d", i%40)},
		"properties": map[string]any{
			"provisioningState": "Succeeded", "hardwareProfile": map[string]string{"vmSize": machineSize},
			"filling": strings.Repeat("x", resourceSize-500),
		},
	})
	return &store.Document{ID: id, Type: machineType, SubscriptionID: strings.ToLower(p.server.Subscription),
		ResourceGroup: fmt.Sprintf("rg-%03d", i%groups), Location: "eastus", Body: body, CreatedAt: now, UpdatedAt: now}
}

func (p *plane) idOf(i int) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/rg-%03d/providers/%s/vm-%06d", p.server.Subscription, i%groups, machineType, i)
}

func (p *plane) anyID() string { return p.idOf(rand.N(resources)) }

func (p *plane) anyDocument() *store.Document { return p.document(rand.N(resources)) }

func (b *bench) storeReads(ctx context.Context, p *plane, s store.Store) error {
	gets, err := repeat(5000, func() error {
		_, err := store.Get(ctx, s, p.anyID())
		return err
	})
	if err != nil {
		return err
	}
	b.table.atMost("store: GET by id, median, ms", milliseconds(gets.median()), getGoal, "%.3f")
	for _, of := range []struct {
		what  string
		query func() store.Query
	}{
		{"type", func() store.Query {
			return store.Query{Type: machineType, Limit: pageSize, After: p.anyID()}
		}},
		{"group", func() store.Query {
			prefix := strings.ToLower(fmt.Sprintf("/subscriptions/%s/resourcegroups/rg-%03d/", p.server.Subscription, rand.N(groups)))
			return store.Query{Type: machineType, Prefix: prefix, Limit: pageSize}
		}},
	} {
		pages, err := repeat(200, func() error {
			_, err := store.List(ctx, s, of.query())
			return err
		})
		if err != nil {
			return err
		}
		b.table.atMost("store: page of 100 by "+of.what+", 95 % are faster, ms", milliseconds(pages.quantile(0.95)), listGoal, "%.2f")
	}
	return nil
}

// storeWrites counts transactions that are on disk when they return.
func (b *bench) storeWrites(ctx context.Context, p *plane, s store.Store) error {
	const window = 3 * time.Second
	for _, clients := range []int{1, 64} {
		var writes atomic.Int64
		end := time.Now().Add(window)
		err := parallel(clients, func(int) error {
			for time.Now().Before(end) && ctx.Err() == nil {
				d := p.anyDocument()
				if err := s.Update(ctx, func(tx store.Tx) error { return tx.Put(d, store.Any) }); err != nil {
					return err
				}
				writes.Add(1)
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		b.table.note(fmt.Sprintf("store: durable writes with %d writers", clients), fmt.Sprintf("%.0f/s", float64(writes.Load())/window.Seconds()))
	}
	return nil
}

// serverOnTop starts a server on the full store and works with it.
func (b *bench) serverOnTop(ctx context.Context, p *plane) error {
	start := time.Now()
	if err := p.up(ctx); err != nil {
		return err
	}
	b.say("the server answers %.1f s after its start on %d resources", time.Since(start).Seconds(), resources)
	if err := p.settled(ctx); err != nil {
		return err
	}
	resting := residentMiB(p.server.PID)
	gets, err := repeat(1000, func() error { return p.Get(ctx, p.anyID(), apiCompute, nil) })
	if err != nil {
		return err
	}
	pages, err := p.pages(ctx, 50)
	if err != nil {
		return err
	}
	b.table.note("server: GET by id over HTTPS, median", fmt.Sprintf("%.2f ms", milliseconds(gets.median())))
	b.table.note("server: list page over HTTPS, median", fmt.Sprintf("%.1f ms", milliseconds(pages.median())))
	b.table.atMost(fmt.Sprintf("server: resident memory with %d resources at rest, MiB", resources), resting, memoryGoal, "%.0f")
	b.table.atMost("server: the same after 1,000 reads and 50 list pages, MiB", residentMiB(p.server.PID), memoryGoal, "%.0f")
	b.table.atMost("server: its peak since the start, MiB", peakMiB(p.server.PID), memoryGoal, "%.0f")
	return nil
}

// pages follows nextLink through so many pages of all machines.
func (p *plane) pages(ctx context.Context, n int) (sample, error) {
	var all sample
	enough := errors.New("enough")
	items, start := 0, time.Now()
	request := azure.Request{Path: "/subscriptions/" + p.server.Subscription + "/providers/" + machineType, APIVersion: apiCompute, Query: url.Values{"$top": {strconv.Itoa(pageSize)}}}
	err := p.List(ctx, request, func(json.RawMessage) error {
		if items++; items%pageSize == 0 {
			all, start = append(all, time.Since(start)), time.Now()
		}
		if len(all) == n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return all, err
}

// pageSize is how many resources a page has.
const pageSize = 100

// settled waits until the server has looked at everything once after its start:
// until it has used no noticeable processor time for two seconds.
func (p *plane) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for quiet, last := 0, p.ticks(); quiet < 4; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is still busy: %w", ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
		now := p.ticks()
		if quiet++; now-last > 3 {
			quiet = 0
		}
		last = now
	}
	return nil
}

// ticks is the processor time that the server has used, in hundredths of a second
// (fields 14 and 15 of /proc/PID/stat).
func (p *plane) ticks() int64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.server.PID))
	_, rest, _ := strings.Cut(string(raw), ") ")
	var user, system int64
	if fields := strings.Fields(rest); len(fields) > 13 {
		fmt.Sscan(fields[11], &user)
		fmt.Sscan(fields[12], &system)
	}
	return user + system
}

func self() int { return os.Getpid() }
