package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/library"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
	"hallmark.dev/hallmark/test/bench/estate"
)

// seed makes the estate; it is stated so that others can make the same.
const seed = 1

// runChild measures one part in this process.
func (p policyOptions) runChild(ctx context.Context) error {
	parts := map[string]func(context.Context) (measured, error){"load": p.load, "engine": p.engine, "service": p.scanned, "fleet": p.fleetChanges}
	part, ok := parts[p.child]
	if !ok {
		return fmt.Errorf("there is no part %q", p.child)
	}
	defer pprof.StopCPUProfile()
	m, err := part(ctx)
	if err != nil {
		return err
	}
	m.PeakMiB = peakMiB(self())
	return json.NewEncoder(os.Stdout).Encode(m)
}

// clock measures wall and processor time.
type clock struct {
	start time.Time
	cpu   time.Duration
}

// startClock starts a measurement, and a profile of it where HALLMARK_BENCH_PROFILE
// names a file, which the next measurement writes anew.
func startClock() clock {
	pprof.StopCPUProfile()
	if name := os.Getenv("HALLMARK_BENCH_PROFILE"); name != "" {
		f, err := os.Create(name)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "no profile:", err)
		}
	}
	return clock{time.Now(), processorTime()}
}

func (c clock) stop() measured {
	return measured{Wall: time.Since(c.start).Seconds(), CPU: (processorTime() - c.cpu).Seconds()}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load reads, parses and compiles every public definition, from the archive.
func (p policyOptions) load(context.Context) (measured, error) {
	debug.SetGCPercent(library.GCPercent) // as hallmark policy import does
	c := startClock()
	texts, err := estate.Definitions(p.builtins)
	if err != nil {
		return measured{}, err
	}
	aliases := alias.Default()
	programs := make([]*policy.Program, len(texts))
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(texts); i += workers {
				if def, err := policy.ParseDefinition(texts[i]); err == nil {
					programs[i], _ = policy.Compile(def, policy.Options{Aliases: aliases}) // nil is counted below
				}
			}
		})
	}
	wg.Wait()
	m := c.stop()
	peak := peakMiB(self())
	texts = nil
	debug.FreeOSMemory()
	m.Values = map[string]float64{"residentMiB": residentMiB(self()), "peakMiB": peak}
	compiled := 0
	for _, p := range programs {
		if p != nil {
			compiled++
		}
	}
	m.Says = fmt.Sprintf("%d of %d definitions compiled", compiled, len(programs))
	return m, nil
}

// engine evaluates documents that go in as bytes, and counts verdicts. A worker holds
// one document at a time; making the documents is not counted.
func (p policyOptions) engine(context.Context) (measured, error) {
	checks, err := chosen(p.builtins)
	if err != nil {
		return measured{}, err
	}
	programs := make([]*policy.Program, len(checks))
	lookups := 0
	answers := make([][2]policy.Related, len(checks))
	for i := range checks {
		answers[i] = answersOf(&checks[i])
		if programs[i] = checks[i].Program; checks[i].Met != nil {
			lookups++
		}
	}
	set := policy.NewSet(programs)
	workers := runtime.GOMAXPROCS(0)
	counts, making := make([][4]int, workers), make([]time.Duration, workers)
	var wg sync.WaitGroup
	c := startClock()
	for w := range workers {
		wg.Go(func() {
			parser := value.Parser{Folded: true}
			for i := w; i < p.machines; i += workers {
				start := time.Now()
				text := estate.Machine(seed, uint64(i))
				making[w] += time.Since(start)
				parser.Reset()
				root, err := parser.Parse(text)
				if err != nil {
					counts[w][policy.Failed]++
					continue
				}
				in := policy.Input{Resource: policy.NewResource(root, ""), Context: estate.Context}
				set.For(in.Resource, func(j int, p *policy.Program) bool {
					in.Related = answers[j][i%2]
					counts[w][p.Evaluate(in).State]++
					return true
				})
			}
		})
	}
	wg.Wait()
	m := c.stop()
	var total [4]int
	for w := range counts {
		for s, n := range counts[w] {
			total[s] += n
		}
	}
	spent := time.Duration(0)
	for _, d := range making {
		spent += d
	}
	m.Wall -= spent.Seconds() / float64(workers)
	m.Says = fmt.Sprintf("seed %d, %d definitions, %d with lookups; verdicts: %d none, %d effect, %d error; making the documents took %.1f s of each worker more",
		seed, len(checks), lookups, total[policy.None], total[policy.Hit], total[policy.Failed], spent.Seconds()/float64(workers))
	return m, nil
}

// answersOf is what a lookup finds: every other machine meets the condition. There are
// none for a definition that looks for nothing.
func answersOf(c *estate.Check) [2]policy.Related {
	if c.Query == nil {
		return [2]policy.Related{}
	}
	return [2]policy.Related{estate.Answer{c.Met}, estate.Answer{c.Missed}}
}

func chosen(builtins string) ([]estate.Check, error) {
	texts, err := estate.Definitions(builtins)
	if err != nil {
		return nil, err
	}
	return estate.Choose(texts)
}

// estateStore is a store in SQLite with a subscription and groups in it.
func (p policyOptions) estateStore(ctx context.Context) (store.Store, error) {
	s, err := sqlite.Open(ctx, filepath.Join(p.work, "db"))
	if err != nil {
		return nil, err
	}
	sub := "/subscriptions/" + estate.Subscription
	docs := []*store.Document{stored(sub, `{}`)}
	for g := range estate.Groups {
		docs = append(docs, stored(fmt.Sprintf("%s/resourceGroups/rg-%03d", sub, g), `{"location":"westeurope","tags":{"cost":"1"}}`))
	}
	return s, put(ctx, s, docs)
}

func stored(id, body string) *store.Document {
	parsed, err := arm.ParseID(id)
	if err != nil {
		panic(err) // the bench's own id
	}
	return &store.Document{ID: id, Type: parsed.Type(), SubscriptionID: parsed.Subscription(), ResourceGroup: parsed.ResourceGroup(), Location: "westeurope", Body: json.RawMessage(body)}
}

func put(ctx context.Context, s store.Store, docs []*store.Document) error {
	return s.Update(ctx, func(tx store.Tx) error {
		for _, d := range docs {
			if assignment.IsSource(d.Type) {
				if err := assignment.Touch(tx); err != nil {
					return err
				}
			}
			if err := tx.Put(d, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
}

func machineAt(i int) *store.Document {
	body := estate.Machine(seed, uint64(i))
	return stored(arm.GetString(json.RawMessage(body), "id"), body)
}

// fill writes machines with what hangs on them.
func fill(ctx context.Context, s store.Store, machines int, related []estate.Related) error {
	const batch = 200
	for from := 0; from < machines; from += batch {
		var docs []*store.Document
		for i := from; i < min(from+batch, machines); i++ {
			m := machineAt(i)
			docs = append(docs, m)
			for j := range related {
				docs = append(docs, stored(related[j].Of(m.ID, uint64(i))))
			}
		}
		if err := put(ctx, s, docs); err != nil {
			return err
		}
	}
	return nil
}

func caughtUp(ctx context.Context, e *compliance.Engine) error {
	_, ok, err := e.Wait(ctx, time.Hour)
	if err == nil && !ok {
		err = errors.New("evaluation did not end within an hour")
	}
	return err
}

// scanned is the first scan of the service over an estate whose policies were just
// assigned: read from SQLite, verdicts in SQLite.
func (p policyOptions) scanned(ctx context.Context) (m measured, err error) {
	checks, err := chosen(p.builtins)
	if err != nil {
		return m, err
	}
	s, err := p.estateStore(ctx)
	if err != nil {
		return m, err
	}
	defer s.Close()
	related, served := estate.RelatedTo(checks)
	filling := time.Now()
	if err := fill(ctx, s, p.service, related); err != nil {
		return m, err
	}
	took := time.Since(filling)
	e := compliance.New(compliance.Config{Store: s, Index: assignment.New(s, nil)})
	if err := caughtUp(ctx, e); err != nil { // nothing is assigned: it only follows what was written
		return m, err
	}
	if err := put(ctx, s, initiative(checks)); err != nil {
		return m, err
	}
	c := startClock()
	if err := caughtUp(ctx, e); err != nil {
		return m, err
	}
	m = c.stop()
	m.Values = map[string]float64{"related": float64(len(related)), "served": float64(served)}
	states, err := p.read(ctx, e, &m)
	m.Says = fmt.Sprintf("%d machines with %d resources each (%d of %d lookups find theirs), written in %.0f s; %s", p.service, len(related), served, len(checks), took.Seconds(), states)
	return m, err
}

// read is what can be asked afterwards.
func (p policyOptions) read(ctx context.Context, e *compliance.Engine, m *measured) (string, error) {
	start := time.Now()
	r, err := e.Read(ctx)
	if err != nil {
		return "", err
	}
	counts := map[compliance.State]int{}
	var worst compliance.Row
	err = r.Rows(ctx, arm.SubscriptionID(estate.Subscription), func(row compliance.Row) bool {
		if counts[row.State]++; row.State == compliance.NonCompliant {
			worst = row
		}
		return true
	})
	m.Values["summaryS"] = time.Since(start).Seconds()
	if err != nil || worst.Unit == nil {
		return fmt.Sprint(counts), errors.Join(err, errors.New("no machine is non-compliant"))
	}
	start = time.Now()
	_, err = r.Explain(ctx, worst.Resource, worst.Unit)
	m.Values["reasonMs"] = milliseconds(time.Since(start))
	return fmt.Sprintf("states: %v", counts), err
}

// initiative is the chosen definitions in one initiative that is assigned.
func initiative(checks []estate.Check) []*store.Document {
	var docs []*store.Document
	var members []map[string]any
	for i, c := range checks {
		id := fmt.Sprintf("/providers/Microsoft.Authorization/policyDefinitions/bench-%03d", i)
		docs = append(docs, stored(id, c.Text))
		parameters := map[string]any{}
		for j := range c.Parameters.Len() {
			parameters[c.Parameters.Key(j)] = map[string]any{"value": c.Parameters.At(j)}
		}
		members = append(members, map[string]any{"policyDefinitionReferenceId": fmt.Sprint("m", i), "policyDefinitionId": id, "parameters": parameters})
	}
	const set = "/providers/Microsoft.Authorization/policySetDefinitions/bench"
	body, _ := json.Marshal(map[string]any{"properties": map[string]any{"policyDefinitions": members}}) // nothing in it fails
	return append(docs, stored(set, string(body)),
		stored("/subscriptions/"+estate.Subscription+"/providers/Microsoft.Authorization/policyAssignments/bench", fmt.Sprintf(`{"properties":{"policyDefinitionId":%q}}`, set)))
}

// fleetChanges measures one changed machine under two hundred policies, and one new
// assignment over all machines. The policies are simple and the bench's own.
func (p policyOptions) fleetChanges(ctx context.Context) (m measured, err error) {
	s, err := p.estateStore(ctx)
	if err != nil {
		return m, err
	}
	defer s.Close()
	if err := fill(ctx, s, p.fleet, nil); err != nil {
		return m, err
	}
	var docs []*store.Document
	for i := range 200 {
		docs = append(docs, simple(i)...)
	}
	if err := put(ctx, s, docs); err != nil {
		return m, err
	}
	e := compliance.New(compliance.Config{Store: s, Index: assignment.New(s, nil)})
	c := startClock()
	if err := caughtUp(ctx, e); err != nil {
		return m, err
	}
	m = c.stop()
	changes, err := repeated(200, func(i int) error {
		d := machineAt(i * 37 % p.fleet)
		d.Body = json.RawMessage(estate.Machine(seed+1, uint64(i*37%p.fleet)))
		if err := put(ctx, s, []*store.Document{d}); err != nil {
			return err
		}
		return caughtUp(ctx, e)
	})
	if err != nil {
		return m, err
	}
	again := startClock()
	assignments, err := repeated(3, func(i int) error {
		if err := put(ctx, s, simple(200+i)); err != nil {
			return err
		}
		return caughtUp(ctx, e)
	})
	m.Values = map[string]float64{"changeMs": milliseconds(changes.median()), "assignS": assignments.median().Seconds()}
	m.Says = fmt.Sprintf("the first scan of %d machines × 200 policies; then changes %v (95 %%: %v), assignments %v, %.1f s of processor time each",
		p.fleet, changes.median(), changes.quantile(0.95), assignments, again.stop().CPU/3)
	return m, err
}

func repeated(n int, do func(i int) error) (sample, error) {
	i := -1
	return repeat(n, func() error { i++; return do(i) })
}

// simple is the i-th policy, assigned.
func simple(i int) []*store.Document {
	id := fmt.Sprintf("/providers/Microsoft.Authorization/policyDefinitions/simple-%03d", i)
	rule := fmt.Sprintf(`{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['costCenter']","exists":false},
		{"field":"Microsoft.Compute/virtualMachines/sku.name","in":["Standard_B2ms","Standard_D%ds_v5"]}]},"then":{"effect":"audit"}}`, 2<<(i%5))
	return []*store.Document{stored(id, `{"properties":{"mode":"Indexed","policyRule":`+rule+`}}`),
		stored(fmt.Sprintf("/subscriptions/%s/providers/Microsoft.Authorization/policyAssignments/simple-%03d", estate.Subscription, i), fmt.Sprintf(`{"properties":{"policyDefinitionId":%q}}`, id))}
}
