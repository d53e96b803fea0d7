package arm

import "strings"

// SplitAnd splits an OData $filter at "and", in any case, outside quotes.
func SplitAnd(filter string) []string {
	var parts []string
	start, quoted := 0, false
	for i := range len(filter) {
		if filter[i] == '\'' {
			quoted = !quoted
		}
		if !quoted && i >= start && i+5 <= len(filter) && strings.EqualFold(filter[i:i+5], " and ") {
			parts = append(parts, filter[start:i])
			start = i + 5
		}
	}
	return append(parts, filter[start:])
}
