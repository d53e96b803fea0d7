package alias

import (
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Nearest returns the known alias most like an unknown name, "" when none is
// like it. It looks at the aliases of the same resource provider.
func (t *Table) Nearest(name string) string {
	key := value.LowerASCII(name)
	namespace, _, ok := strings.Cut(key, "/")
	if !ok {
		return ""
	}
	best, distance := "", max(len(key)/4, 2)+1
	t.each(namespace+"/", func(candidate string) bool {
		if d := editDistance(key, value.LowerASCII(candidate), distance); d < distance {
			best, distance = candidate, d
		}
		return true
	})
	return best
}

// editDistance counts insertions, deletions and replacements of bytes, and gives
// up with limit as soon as it must be at least that.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal, least := row[0], i
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = min(diagonal, row[j], row[j-1]) + 1
			}
			diagonal, row[j] = row[j], cost
			least = min(least, cost)
		}
		if least >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}
