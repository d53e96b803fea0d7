package value

import "unicode/utf8"

// Like is a compiled pattern of the operator like: * stands for any run, ? for
// one character, and case is ignored.
type Like struct {
	pattern string // folded
	prefix  string // what stands before the only *, when that is at the end
	simple  bool
}

// NewLike compiles a pattern.
func NewLike(pattern string) Like {
	p := Like{pattern: Fold(pattern)}
	if n := len(p.pattern); n > 0 && p.pattern[n-1] == '*' && !hasWildcard(p.pattern[:n-1]) && isASCII(p.pattern) {
		p.prefix, p.simple = p.pattern[:n-1], true
	}
	return p
}

func hasWildcard(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '*' || s[i] == '?' {
			return true
		}
	}
	return false
}

// Match reports whether the whole of s matches.
func (p Like) Match(s string) bool {
	if p.simple {
		return p.matchPrefix(s)
	}
	if isASCII(s) {
		return wild(p.pattern, s)
	}
	return wild(p.pattern, Fold(s))
}

// matchPrefix needs no folding as long as s is ASCII where it is looked at.
func (p Like) matchPrefix(s string) bool {
	for i := 0; i < len(p.prefix); i++ {
		switch {
		case i >= len(s):
			return false
		case s[i] >= 0x80:
			return HasPrefixFold(s, p.prefix)
		case lower[s[i]] != p.prefix[i]:
			return false
		}
	}
	return true
}

// wild matches a folded pattern against s, whose ASCII letters may have any
// case. On a mismatch it returns to the last * only, so the time is at most the
// product of both lengths.
func wild(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, size := utf8.DecodeRuneInString(s[i:])
			i += size
			p++
		case p < len(pattern) && pattern[p] == lower[s[i]]:
			i++
			p++
		case star >= 0:
			_, size := utf8.DecodeRuneInString(s[mark:])
			mark += size
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// MatchPattern is the operator match: # stands for a digit, ? for a letter, .
// for any one character, everything else for itself, case included.
func MatchPattern(pattern, s string) bool {
	for pattern != "" {
		want, n := utf8.DecodeRuneInString(pattern)
		have, m := utf8.DecodeRuneInString(s)
		if m == 0 || !matchRune(want, have) {
			return false
		}
		pattern, s = pattern[n:], s[m:]
	}
	return s == ""
}

func matchRune(want, have rune) bool {
	switch want {
	case '#':
		return have >= '0' && have <= '9'
	case '?':
		return have|0x20 >= 'a' && have|0x20 <= 'z' && have < 0x80
	case '.':
		return true
	}
	return want == have
}
