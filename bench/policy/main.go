// Command policy compares the policy engine with the same rules written by hand
// in Go, with cel-go, OPA and expr, in one run, over one parsed document, and
// from raw bytes with twenty policies.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/sample"
)

// runs is how often everything is measured; the fastest run counts, since other
// work on the machine only makes it slower.
const runs = 3

func main() {
	asJSON := flag.Bool("json", false, "print the ratios as JSON, too, in the last line")
	flag.Parse()
	if err := run(*asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "policy:", err)
		os.Exit(1)
	}
}

// ratios are what the goals are about.
type ratios struct {
	OfByHand float64 `json:"ofByHand"` // time of hallmark, of the time by hand
	OfCEL    float64 `json:"celGo"`    // time of the others, of hallmark's
	OfOPA    float64 `json:"opa"`
	OfExpr   float64 `json:"expr"`
	BytesOPA float64 `json:"opaFromBytes"`
}

func run(asJSON bool) error {
	var doc map[string]any
	if err := json.Unmarshal([]byte(sample.VM), &doc); err != nil {
		return err
	}
	root, err := value.ParseResource(sample.VM)
	if err != nil {
		return err
	}
	names := []string{"hallmark", "by hand", "cel-go", "OPA", "expr"}
	fmt.Printf("one rule over a parsed document of %d bytes, ns\n%-18s", len(sample.VM), "")
	for _, name := range names {
		fmt.Printf("%12s", name)
	}
	fmt.Println()
	logs := make([]float64, len(names))
	for i, rule := range sample.Rules() {
		evaluators, err := evaluatorsOf(rule, peers[i], root, doc)
		if err != nil {
			return fmt.Errorf("%s: %w", rule.Name, err)
		}
		fmt.Printf("%-18s", rule.Name)
		for j, evaluate := range evaluators {
			if got, want := evaluate(), rule.Hand(doc); got != want {
				return fmt.Errorf("%s: %s says %v, by hand %v", rule.Name, names[j], got, want)
			}
			ns := measure(func() { evaluate() })
			logs[j] += math.Log(ns)
			fmt.Printf("%12.0f", ns)
		}
		fmt.Println()
	}
	mean := func(j int) float64 { return math.Exp(logs[j] / float64(len(peers))) }
	fmt.Printf("%-18s", "geometric mean")
	for j := range names {
		fmt.Printf("%12.0f", mean(j))
	}
	fmt.Printf("\n\nhallmark takes %.2f times as long as by hand; cel-go %.1f, OPA %.1f, expr %.1f times as long as hallmark\n",
		mean(0)/mean(1), mean(2)/mean(0), mean(3)/mean(0), mean(4)/mean(0))
	r := ratios{OfByHand: mean(0) / mean(1), OfCEL: mean(2) / mean(0), OfOPA: mean(3) / mean(0), OfExpr: mean(4) / mean(0)}
	if r.BytesOPA, err = fromBytes(); err != nil || !asJSON {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func measure(f func()) float64 {
	best := math.Inf(1)
	for range runs {
		r := testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
		best = min(best, float64(r.T.Nanoseconds())/float64(r.N))
	}
	return best
}

// evaluatorsOf prepares the rule for every engine, in the order of names.
func evaluatorsOf(rule sample.Rule, peer peer, root value.Value, doc map[string]any) ([]func() bool, error) {
	program, in, err := hallmark(rule)
	if err != nil {
		return nil, err
	}
	// An engine that remembers what it saw of a document must not profit here:
	// the documents take turns.
	turns := make([]*policy.Resource, 16)
	for i := range turns {
		turns[i] = policy.NewResource(root, "")
	}
	turn := 0
	celEval, err := peer.cel(doc)
	if err != nil {
		return nil, fmt.Errorf("cel-go: %w", err)
	}
	opaEval, err := peer.opa()
	if err != nil {
		return nil, fmt.Errorf("OPA: %w", err)
	}
	input, err := opaInput(doc)
	if err != nil {
		return nil, err
	}
	exprEval, err := peer.exprLang(doc)
	if err != nil {
		return nil, fmt.Errorf("expr: %w", err)
	}
	return []func() bool{
		func() bool {
			turn++
			in.Resource = turns[turn%len(turns)]
			return program.Evaluate(in).State == policy.Hit
		},
		func() bool { return rule.Hand(doc) },
		celEval,
		func() bool { return opaEval(input) },
		exprEval,
	}, nil
}

func hallmark(rule sample.Rule) (*policy.Program, policy.Input, error) {
	var in policy.Input
	def, err := policy.ParseRule(`{"if":` + rule.If + `,"then":{"effect":"audit"}}`)
	if err != nil {
		return nil, in, err
	}
	if rule.Context != "" {
		if in.Context, err = value.Parse(rule.Context); err != nil {
			return nil, in, err
		}
	}
	program, err := policy.Compile(def, policy.Options{Aliases: alias.Default()})
	return program, in, err
}

// variant changes what a rule compares with, but not what it comes to, so that
// twenty policies are twenty different ones.
func variant(k int) *strings.Replacer {
	n := strconv.Itoa(k)
	return strings.NewReplacer("debian", "debian"+n, "server-00", "server-"+n+"00", "512", "51"+n, "4096", "409"+n, ", 90)", ", 8"+n+")")
}

// fromBytes evaluates twenty policies, four variants of each rule, over one
// document that is parsed from its bytes.
func fromBytes() (float64, error) {
	var programs []*policy.Program
	var inputs []policy.Input
	var queries []func(any) bool
	for k := range 4 {
		for i, rule := range sample.Rules() {
			rule.If = variant(k).Replace(rule.If)
			program, in, err := hallmark(rule)
			if err != nil {
				return 0, err
			}
			query, err := peer{regoText: variant(k).Replace(peers[i].regoText)}.opa()
			if err != nil {
				return 0, err
			}
			programs, inputs, queries = append(programs, program), append(inputs, in), append(queries, query)
		}
	}
	text := []byte(sample.VM)
	parser := value.Parser{Folded: true}
	ours := measure(func() {
		parser.Reset()
		root, err := parser.Parse(string(text))
		if err != nil {
			panic(err)
		}
		r := policy.NewResource(root, "")
		for i, p := range programs {
			inputs[i].Resource = r
			p.Evaluate(inputs[i])
		}
	})
	theirs := measure(func() {
		var doc map[string]any
		if err := json.Unmarshal(text, &doc); err != nil {
			panic(err)
		}
		input, err := opaInput(doc)
		if err != nil {
			panic(err)
		}
		for _, q := range queries {
			q(input)
		}
	})
	fmt.Printf("\ntwenty policies over one document from its bytes: hallmark %.1f µs, OPA %.1f µs, %.1f times as long\n", ours/1e3, theirs/1e3, theirs/ours)
	return theirs / ours, nil
}

var background = context.Background()
