package kql_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hallmark.dev/hallmark/internal/kql"
)

// FuzzQuery: whatever is asked, there is an answer or an *Error with its place, no
// panic, and not too much of anything.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"Resources | where type =~ 'a' and tags['x'] == 1 | summarize count(), make_set(name) by location | order by count_ desc nulls last | take 3",
		"union kind=inner (Resources | project id), Others | distinct *", "Resources | extend x = case(name == 'a', 1, 2.5e3), y = datetime(2026-01-01) - 1d | project-away n*",
		"Resources | where name matches regex @'(a|b)*' | project split(id, '/')[-1], dynamic({\"a\":[1]}).a[0]", "Resources | top 3 by strcat(name, tostring(properties)) asc",
		"count // x", "Resources | where a !in~ ('b') or not(isnull(c)) and d between (1 .. 2)", "Resources | summarize arg_max(properties.size, *) by bin(toint(properties.size), 5)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		steps := 0
		_, err := run(estate(), query, kql.Options{Budget: kql.Budget{Memory: 4 << 20, Text: 1 << 16}, Interrupt: func() error {
			if steps++; steps > 1000 {
				t.Fatalf("it goes on and on: %q", query)
			}
			return nil
		}})
		var e *kql.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %v", query, err)
		}
	})
}

// machine is what naive evaluation looks at.
type machine struct {
	name, location, team string
	size                 int
	has                  bool // a size at all
}

// TestAgainstNaiveEvaluation compares pipelines with what plain Go makes of the rows.
func TestAgainstNaiveEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) machine {
			return machine{rapid.StringMatching(`[a-c]{1,3}`).Draw(t, "name"), rapid.SampledFrom([]string{"east", "west", "north"}).Draw(t, "location"),
				rapid.SampledFrom([]string{"Red", "red", "blue", ""}).Draw(t, "team"), rapid.IntRange(-3, 9).Draw(t, "size"), rapid.Bool().Draw(t, "has")}
		}), 0, 30).Draw(t, "machines")
		w := &world{rows: map[string][]kql.Record{}}
		for _, m := range ms {
			w.rows["Resources"] = append(w.rows["Resources"], m.record())
		}
		bound, where := rapid.IntRange(-3, 9).Draw(t, "bound"), rapid.SampledFrom([]string{"east", "EAST", "west"}).Draw(t, "where")
		n := rapid.IntRange(0, 10).Draw(t, "n")
		b, limit := kql.Long(int64(bound)).Text(), kql.Long(int64(n)).Text()

		kept := filtered(ms, func(m machine) bool { return m.has && m.size > bound && strings.EqualFold(m.location, where) })
		check(t, w, "Resources | where properties.size > "+b+" and location =~ '"+where+"' | project name", names(kept))
		check(t, w, "Resources | where not(properties.size <= "+b+") | where location =~ '"+where+"' | project name", names(kept))

		sorted := slices.Clone(kept)
		slices.SortStableFunc(sorted, func(a, b machine) int { return strings.Compare(b.name, a.name) })
		want := names(sorted)
		want = want[:min(n, len(want))]
		check(t, w, "Resources | where properties.size > "+b+" and location =~ '"+where+"' | order by name | take "+limit+" | project name", want)
		check(t, w, "Resources | where location =~ '"+where+"' | where properties.size > "+b+" | top "+limit+" by name desc | project name", want)

		counts := map[string]int{}
		sums := map[string]int{}
		var order []string
		for _, m := range ms {
			if counts[m.team]++; counts[m.team] == 1 {
				order = append(order, m.team)
			}
			if m.has {
				sums[m.team] += m.size
			}
		}
		var rows []string
		for _, team := range order {
			rows = append(rows, team+":"+kql.Long(int64(counts[team])).Text()+":"+kql.Long(int64(sums[team])).Text())
		}
		check(t, w, "Resources | extend team = tostring(tags.team) | summarize c = count(), s = sum(toint(properties.size)) by team | project strcat(team, ':', c, ':', s)", rows)
		check(t, w, "Resources | distinct t = tostring(tags['team'])", order)
		check(t, w, "Resources | where tags.team in~ ('RED') | project name", names(filtered(ms, func(m machine) bool { return strings.EqualFold(m.team, "red") })))
	})
}

func (m machine) record() kql.Record {
	tags, size := "", ""
	if m.team != "" {
		tags = `{"team":"` + m.team + `"}`
	}
	if m.has {
		size = `"size":` + kql.Long(int64(m.size)).Text()
	}
	return row(m.name, "t", m.location, tags, `{"properties":{`+size+`}}`)
}

func filtered(ms []machine, keep func(machine) bool) (out []machine) {
	for _, m := range ms {
		if keep(m) {
			out = append(out, m)
		}
	}
	return out
}

func names(ms []machine) (out []string) {
	for _, m := range ms {
		out = append(out, m.name)
	}
	return out
}

func check(t *rapid.T, w *world, query string, want []string) {
	t.Helper()
	r, err := run(w, query, kql.Options{})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var got []string
	for _, row := range r.Rows {
		got = append(got, row[0].Text())
	}
	if !slices.Equal(got, want) || r.Total != len(want) {
		t.Fatalf("%s:\n got %q (total %d)\nwant %q", query, got, r.Total, want)
	}
}
