// Command scan measures the policy engine on an estate: virtual machines by the
// million, generated with a stated seed, times two hundred public definitions,
// most of them with an existence check whose related resource is present and, for
// every other machine, meets the condition. Documents go in as bytes, verdicts are
// counted.
//
// It needs the archive of Azure's public definitions, which is no part of the
// project: -builtins azure-policy-builtins.tar.gz.
package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/batch"
)

// Two hundred definitions, as many as there are without an existence check up to
// fifty of them, the others with one.
const (
	wantAll    = 200
	wantOthers = 50
)

func main() {
	machines := flag.Int("n", 1_000_000, "machines")
	seed := flag.Uint64("seed", 1, "seed of the generator")
	archive := flag.String("builtins", "", "azure-policy-builtins.tar.gz")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "scan:", err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if err := run(*machines, *seed, *archive); err != nil {
		fmt.Fprintln(os.Stderr, "scan:", err)
		os.Exit(1)
	}
}

func run(machines int, seed uint64, archive string) error {
	texts, err := definitions(archive)
	if err != nil {
		return err
	}
	start := time.Now()
	checks, err := choose(texts)
	if err != nil {
		return err
	}
	fmt.Printf("%d definitions chosen of %d, %d with existence checks, in %v\n", len(checks), len(texts), countChecks(checks), time.Since(start).Round(time.Millisecond))
	start = time.Now()
	total, took := scan(machines, seed, checks)
	wall := time.Since(start)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	fmt.Printf("%d machines × %d definitions, seed %d, %d workers: %v (%v with generating the documents); %.0f ns a verdict on each core\n", machines, len(checks), seed,
		runtime.GOMAXPROCS(0), took.Round(time.Millisecond), wall.Round(time.Millisecond), float64(took.Nanoseconds())*float64(runtime.GOMAXPROCS(0))/float64(machines*len(checks)))
	fmt.Printf("verdicts: %d none, %d effect, %d not applicable, %d error; memory from the system %d MiB\n",
		total[policy.None], total[policy.Hit], total[policy.NotApplicable], total[policy.Failed], memory.Sys>>20)
	return nil
}

// definitions reads the archive; the order is that of the names.
func definitions(archive string) ([]string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("the public definitions (-builtins): %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	byName := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if strings.Contains(h.Name, "/policyDefinitions/") && strings.HasSuffix(h.Name, ".json") {
			b, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			byName[h.Name] = string(b)
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = byName[name]
	}
	return texts, nil
}

// check is one definition with what existence checks find.
type check struct {
	program   *policy.Program
	met, miss policy.Related
}

// related answers every existence check with the same resources.
type related []*policy.Resource

// FindRelated implements policy.Related.
func (r *related) FindRelated(policy.Query) ([]*policy.Resource, error) { return *r, nil }

// choose takes the first definitions that can hold for a virtual machine: those
// with an existence check only if one of the candidates meets its condition.
func choose(texts []string) ([]check, error) {
	candidates, err := candidates()
	if err != nil {
		return nil, err
	}
	probes := make([]*policy.Resource, 40)
	for i := range probes {
		if probes[i], err = policy.ParseResource(machine(rand.New(rand.NewPCG(99, uint64(i)))), ""); err != nil {
			return nil, err
		}
	}
	var checks, others []check
	for _, text := range texts {
		program := compile(text)
		if program == nil || !slices.Contains(program.Types(), "microsoft.compute/virtualmachines") {
			continue
		}
		c, isCheck := probe(program, probes, candidates)
		switch {
		case isCheck && c.met != nil:
			checks = append(checks, c)
		case !isCheck && len(others) < wantOthers:
			others = append(others, c)
		}
	}
	return append(others, checks[:min(len(checks), wantAll-len(others))]...), nil
}

func compile(text string) *policy.Program {
	def, err := policy.ParseDefinition(text)
	if err != nil {
		return nil
	}
	effect := "AuditIfNotExists"
	if p, ok := def.ParameterNamed("effect"); ok && !value.In(value.FromString(effect), p.AllowedValues) {
		effect = p.Default.Str()
	}
	parameters := value.FromFields([]value.Field{{Key: "effect", Value: value.FromString(effect)}, {Key: "IncludeArcMachines", Value: value.FromString("true")}})
	program, err := policy.Compile(def, policy.Options{Aliases: alias.Default(), Parameters: parameters})
	if err != nil {
		return nil
	}
	return program
}

// probe finds out on some machines whether the definition does an existence
// check, and which candidate meets its condition.
func probe(program *policy.Program, probes, candidates []*policy.Resource) (c check, isCheck bool) {
	c.program = program
	for _, r := range probes {
		asked := &asking{}
		v := program.Evaluate(policy.Input{Resource: r, Context: evaluationContext, Related: asked})
		if v.State != policy.Hit || !asked.was {
			continue
		}
		isCheck = true
		for _, candidate := range append(hashed(program, r), candidates...) {
			answer := &related{candidate}
			if program.Evaluate(policy.Input{Resource: r, Context: evaluationContext, Related: answer}).State == policy.None {
				c.met = answer
			} else {
				c.miss = answer
			}
		}
		if c.met != nil {
			return c, true
		}
	}
	return c, isCheck
}

// hashed returns the guest configuration assignment whose parameterHash the
// definition wants on this machine.
func hashed(program *policy.Program, r *policy.Resource) []*policy.Resource {
	const template = `{"type":"Microsoft.GuestConfiguration/guestConfigurationAssignments","name":"x","properties":{"complianceStatus":"Compliant","parameterHash":%s}}`
	answer := batch.Answers(must(value.Parse(fmt.Sprintf(`[%s]`, fmt.Sprintf(template, `"0"`)))))
	_, tree := program.Explain(policy.Input{Resource: r, Context: evaluationContext, Related: answer})
	wanted := hashWanted(tree)
	if wanted == nil {
		return nil
	}
	found, err := policy.ParseResource(fmt.Sprintf(template, wanted.JSON()), "")
	if err != nil {
		return nil
	}
	return []*policy.Resource{found}
}

func hashWanted(e *policy.Explanation) *value.Value {
	if e == nil {
		return nil
	}
	if strings.HasSuffix(e.Subject, "/parameterHash") && e.Wanted != nil {
		return e.Wanted
	}
	for _, child := range e.Children {
		if wanted := hashWanted(child); wanted != nil {
			return wanted
		}
	}
	return nil
}

// asking finds nothing, and notes that it was asked.
type asking struct{ was bool }

// FindRelated implements policy.Related.
func (a *asking) FindRelated(policy.Query) ([]*policy.Resource, error) {
	a.was = true
	return nil, nil
}

func countChecks(checks []check) int {
	n := 0
	for _, c := range checks {
		if c.met != nil {
			n++
		}
	}
	return n
}

// scan evaluates on every core. A worker holds one document at a time; took is
// the longest that one of them spent parsing and evaluating.
func scan(machines int, seed uint64, checks []check) (total [4]int, took time.Duration) {
	programs := make([]*policy.Program, len(checks))
	for i := range checks {
		programs[i] = checks[i].program
	}
	set := policy.NewSet(programs)
	workers := runtime.GOMAXPROCS(0)
	counts := make([][4]int, workers)
	busy := make([]time.Duration, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			parser := value.Parser{Folded: true}
			for i := w; i < machines; i += workers {
				text := machine(rand.New(rand.NewPCG(seed, uint64(i))))
				start := time.Now()
				parser.Reset()
				root, err := parser.Parse(text)
				if err != nil {
					counts[w][policy.Failed]++
					continue
				}
				in := policy.Input{Resource: policy.NewResource(root, ""), Context: evaluationContext}
				set.For(in.Resource, func(j int, p *policy.Program) bool {
					if in.Related = checks[j].met; i%2 == 1 {
						in.Related = checks[j].miss
					}
					counts[w][p.Evaluate(in).State]++
					return true
				})
				busy[w] += time.Since(start)
			}
		})
	}
	wg.Wait()
	for _, c := range counts {
		for s, n := range c {
			total[s] += n
		}
	}
	return total, slices.Max(busy)
}
