package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// The goals of issue: policies.
const (
	byHandGoal    = 2.0  // × the time of hand-written Go
	celGoal       = 5.0  // × as long as hallmark
	opaGoal       = 40.0 // × as long as hallmark
	opaBytesGoal  = 20.0
	loadGoal      = 1.0   // s
	loadMemory    = 150.0 // MiB
	engineGoal    = 60.0  // s for a million machines
	serviceGoal   = 300.0 // s for a million machines
	changeGoal    = 5.0   // ms, median
	assignGoal    = 2.0   // s over 100,000 machines
	million       = 1_000_000
	assignedGoals = 100_000
)

// policyOptions say what the policy benchmarks work on.
type policyOptions struct {
	builtins string
	machines int // of the engine's figure
	service  int // of the service's first scan
	fleet    int // of the service's changes
	child    string
	work     string
}

func (p *policyOptions) register() {
	flag.StringVar(&p.builtins, "builtins", defaultBuiltins(), "the archive of Azure's public `definitions` (azure-policy-builtins.tar.gz), which is no part of the project")
	flag.IntVar(&p.machines, "machines", 100_000, "`machines` in the engine's figure; the goal is about 1,000,000")
	flag.IntVar(&p.service, "service-machines", 4_000, "`machines` in the service's first scan; the goal is about 1,000,000")
	flag.IntVar(&p.fleet, "fleet", 100_000, "`machines` under which one changes, and over which a policy is assigned")
	flag.StringVar(&p.child, "child", "", "measure one `part` in this process and print JSON (used by the bench itself)")
	flag.StringVar(&p.work, "work", "", "a temporary `folder` for -child")
}

func defaultBuiltins() string {
	if name := os.Getenv("HALLMARK_BUILTINS"); name != "" {
		return name
	}
	shared := os.Getenv("HALLMARK_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "shared")
	}
	return filepath.Join(shared, "data", "azure-policy-builtins.tar.gz")
}

// measured is what a child says.
type measured struct {
	Wall    float64            `json:"wall"` // s
	CPU     float64            `json:"cpu"`  // s, of all threads
	PeakMiB float64            `json:"peakMiB"`
	Says    string             `json:"says"`
	Values  map[string]float64 `json:"values"`
}

func (b *bench) measurePolicy(ctx context.Context) error {
	err := b.measurePeers(ctx)
	if _, missing := os.Stat(b.policy.builtins); missing != nil {
		b.table.note("loading, engine and service over Azure's public definitions", "not measured: "+missing.Error()+"; pass -builtins")
		return errors.Join(err, b.measureFleet(ctx))
	}
	return errors.Join(err, b.measureLoad(ctx), b.measureEngine(ctx), b.measureFleet(ctx), b.measureService(ctx))
}

// measurePeers runs the comparison with other engines, in its module's binary.
func (b *bench) measurePeers(ctx context.Context) error {
	binary := filepath.Join(filepath.Dir(b.binary), "hallmark-bench-peers")
	if _, err := os.Stat(binary); err != nil {
		b.table.note("five rules beside cel-go and OPA", "not measured: "+err.Error())
		return nil
	}
	out, err := exec.CommandContext(ctx, binary, "-json").Output()
	if err != nil {
		return fmt.Errorf("the peers: %w", err)
	}
	var last []byte
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if last = bytes.Clone(lines.Bytes()); len(last) > 0 && last[0] != '{' {
			fmt.Println("         ", string(last))
		}
	}
	var r struct{ OfByHand, CelGo, Opa, Expr, OpaFromBytes float64 }
	if err := json.Unmarshal(last, &r); err != nil {
		return fmt.Errorf("the peers said %q: %w", last, err)
	}
	b.table.atMost("five rules, geometric mean: × the time of hand-written Go", r.OfByHand, byHandGoal, "%.2f")
	b.table.atLeast("five rules, geometric mean: cel-go takes × as long", r.CelGo, celGoal, "%.1f")
	b.table.atLeast("five rules, geometric mean: OPA takes × as long", r.Opa, opaGoal, "%.0f")
	b.table.atLeast("20 policies from raw bytes: OPA takes × as long", r.OpaFromBytes, opaBytesGoal, "%.0f")
	return nil
}

func (b *bench) measureLoad(ctx context.Context) error {
	m, err := b.inChild(ctx, "load")
	if err != nil {
		return err
	}
	b.table.atMost("loading all public definitions and aliases, s", m.Wall, loadGoal, "%.2f")
	b.table.atMost("the same, processor time spread over two cores, s", m.CPU/2, loadGoal, "%.2f")
	b.table.atMost("the same, resident memory with all of them loaded, MiB", m.Values["residentMiB"], loadMemory, "%.0f")
	b.table.note("the same, peak of the process's memory while loading", fmt.Sprintf("%.0f MiB", m.PeakMiB))
	return nil
}

func (b *bench) measureEngine(ctx context.Context) error {
	m, err := b.inChild(ctx, "engine")
	if err != nil {
		return err
	}
	scale := million / float64(b.policy.machines)
	name := fmt.Sprintf("engine: 1,000,000 machines × 200 definitions%s", projected(b.policy.machines))
	b.table.atMost(name+", s", m.Wall*scale, engineGoal, "%.0f")
	b.table.atMost("the same, processor time spread over two cores, s", m.CPU/2*scale, engineGoal, "%.0f")
	b.table.note("engine: peak of the process's memory", fmt.Sprintf("%.0f MiB", m.PeakMiB))
	return nil
}

func (b *bench) measureFleet(ctx context.Context) error {
	m, err := b.inChild(ctx, "fleet")
	if err != nil {
		return err
	}
	n := thousands(b.policy.fleet)
	b.table.atMost("service: one changed machine of "+n+" under 200 policies, commit to queryable, median, ms", m.Values["changeMs"], changeGoal, "%.2f")
	scale := float64(assignedGoals) / float64(b.policy.fleet)
	b.table.atMost(fmt.Sprintf("service: one new assignment over 100,000 machines%s, median, s", projectedOf(b.policy.fleet, assignedGoals)), m.Values["assignS"]*scale, assignGoal, "%.2f")
	return nil
}

func (b *bench) measureService(ctx context.Context) error {
	m, err := b.inChild(ctx, "service")
	if err != nil {
		return err
	}
	scale := million / float64(b.policy.service)
	name := fmt.Sprintf("service: 1,000,000 machines × 200 definitions from SQLite%s", projected(b.policy.service))
	b.table.atMost(name+", s", m.Wall*scale, serviceGoal, "%.0f")
	b.table.atMost("the same, processor time spread over two cores, s", m.CPU/2*scale, serviceGoal, "%.0f")
	b.table.note("service: resources that hang on each machine, lookups served", fmt.Sprintf("%.0f, %.0f", m.Values["related"], m.Values["served"]))
	b.table.note("service: a summary of all states; the reason of one", fmt.Sprintf("%.2f s; %.2f ms", m.Values["summaryS"], m.Values["reasonMs"]))
	b.table.note("service: peak of the process's memory", fmt.Sprintf("%.0f MiB", m.PeakMiB))
	return nil
}

// projected says that a figure was scaled up.
func projected(machines int) string { return projectedOf(machines, million) }

func projectedOf(machines, goal int) string {
	if machines == goal {
		return ""
	}
	return fmt.Sprintf(" (projected from %s)", thousands(machines))
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// inChild measures in a process of its own, so that its memory is its own.
func (b *bench) inChild(ctx context.Context, part string) (m measured, err error) {
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	work, err := os.MkdirTemp(b.work, part)
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(work)
	cmd := exec.CommandContext(ctx, self, "-child", part, "-work", work, "-builtins", b.policy.builtins, "-machines", strconv.Itoa(b.policy.machines),
		"-service-machines", strconv.Itoa(b.policy.service), "-fleet", strconv.Itoa(b.policy.fleet))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return m, fmt.Errorf("%s: %w", part, err)
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return m, fmt.Errorf("%s said %q: %w", part, out, err)
	}
	b.say("%s: %.2f s (%.2f s of processor time), at most %.0f MiB; %s", part, m.Wall, m.CPU, m.PeakMiB, m.Says)
	return m, nil
}
