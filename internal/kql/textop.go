package kql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// textOperators are the operators on two texts. Without _cs they have no regard to case.
var textOperators = map[string]func(a, b string) bool{
	"has": func(a, b string) bool { return hasTerm(a, b, true, true, true) }, "has_cs": func(a, b string) bool { return hasTerm(a, b, false, true, true) },
	"hasprefix": func(a, b string) bool { return hasTerm(a, b, true, true, false) }, "hasprefix_cs": func(a, b string) bool { return hasTerm(a, b, false, true, false) },
	"hassuffix": func(a, b string) bool { return hasTerm(a, b, true, false, true) }, "hassuffix_cs": func(a, b string) bool { return hasTerm(a, b, false, false, true) },
	"contains": func(a, b string) bool { return indexFold(a, b, 0) >= 0 }, "contains_cs": strings.Contains,
	"startswith": func(a, b string) bool { return prefixFold(a, b) }, "startswith_cs": strings.HasPrefix,
	"endswith": func(a, b string) bool { return len(a) >= len(b) && prefixFold(a[len(a)-len(b):], b) }, "endswith_cs": strings.HasSuffix,
}

// Searching without regard to case takes the product of both lengths, so it is for
// short texts; terms are never longer than longTerm.
const (
	longNeedle = 32
	longTerm   = 4096
)

func prefixFold(a, b string) bool { return len(a) >= len(b) && strings.EqualFold(a[:len(b)], b) }

// indexFold finds b in a from a place on, in any case of letters. Letters whose cases
// differ in length are found as they are only.
func indexFold(a, b string, from int) int {
	if b == "" {
		return from
	}
	if len(b) > longNeedle {
		if i := strings.Index(strings.ToLower(a[from:]), strings.ToLower(b)); i >= 0 {
			return from + i
		}
		return -1
	}
	lower, upper := asciiCases(b[0])
	for i := from; i+len(b) <= len(a); i++ {
		if c := a[i]; c != lower && c != upper && c < utf8.RuneSelf && b[0] < utf8.RuneSelf {
			continue
		}
		if strings.EqualFold(a[i:i+len(b)], b) {
			return i
		}
	}
	return -1
}

func asciiCases(c byte) (lower, upper byte) {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A', c
	}
	if 'a' <= c && c <= 'z' {
		return c, c - ('a' - 'A')
	}
	return c, c
}

// hasTerm looks for b as whole terms of a: letters and digits on either side end a
// term only where b itself ends in something else.
func hasTerm(a, b string, fold, left, right bool) bool {
	if b == "" || len(b) > longTerm {
		return b == ""
	}
	if fold && len(b) > longNeedle {
		a, b, fold = strings.ToLower(a), strings.ToLower(b), false
	}
	first, _ := utf8.DecodeRuneInString(b)
	last, _ := utf8.DecodeLastRuneInString(b)
	left, right = left && inTerm(first), right && inTerm(last)
	for from := 0; ; {
		i := -1
		if fold {
			i = indexFold(a, b, from)
		} else if j := strings.Index(a[from:], b); j >= 0 {
			i = from + j
		}
		if i < 0 {
			return false
		}
		before, _ := utf8.DecodeLastRuneInString(a[:i])
		after, _ := utf8.DecodeRuneInString(a[i+len(b):])
		if !(left && i > 0 && inTerm(before)) && !(right && i+len(b) < len(a) && inTerm(after)) {
			return true
		}
		from = i + 1
	}
}

func inTerm(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
