package main

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	s := sample{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.95: 5, 1: 5} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v: got %d, want %d", q, got, want)
		}
	}
}

func TestTableSaysWhatIsMissed(t *testing.T) {
	var table table
	table.atMost("fast", 1, 2, "%.1f")
	table.atMost("slow", 3, 2, "%.1f")
	table.note("for the record", "7/s")
	const want = `what            measured  goal   ratio  met
fast            1.0       ≤ 2.0  0.50   yes
slow            3.0       ≤ 2.0  1.50   NO
for the record  7/s                     
`
	if got := table.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
