package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table is the report. A row without a goal is there to be read.
type table struct{ rows [][]string }

// atMost adds a row whose goal is a bound from above; both are in the same unit.
func (t *table) atMost(what string, measured, goal float64, format string) {
	met := "yes"
	if measured > goal {
		met = "NO"
	}
	t.rows = append(t.rows, []string{what, fmt.Sprintf(format, measured), "≤ " + fmt.Sprintf(format, goal), fmt.Sprintf("%.2f", measured/goal), met})
}

// atLeast adds a row whose goal is a bound from below; both are in the same unit.
func (t *table) atLeast(what string, measured, goal float64, format string) {
	met := "yes"
	if measured < goal {
		met = "NO"
	}
	t.rows = append(t.rows, []string{what, fmt.Sprintf(format, measured), "≥ " + fmt.Sprintf(format, goal), fmt.Sprintf("%.2f", measured/goal), met})
}

// note adds a row without a goal.
func (t *table) note(what, measured string) {
	t.rows = append(t.rows, []string{what, measured, "", "", ""})
}

func (t *table) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\tgoal\tratio\tmet")
	for _, row := range t.rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // into memory
	return text.String()
}

// sample is a number of measurements of the same thing.
type sample []time.Duration

// quantile returns the value that a share q of the sample does not exceed.
func (s sample) quantile(q float64) time.Duration {
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s sample) median() time.Duration { return s.quantile(0.5) }

// repeat measures do n times.
func repeat(n int, do func() error) (sample, error) {
	var all sample
	for range n {
		start := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		all = append(all, time.Since(start))
	}
	return all, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
