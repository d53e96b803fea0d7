package rbac

import "strings"

// pattern is a compiled action pattern: "*" stands for any text, slashes included,
// and case does not matter.
type pattern struct {
	exact string   // without a "*"
	parts []string // else what stands between the stars, in lower case; at least two
}

func compilePattern(text string) pattern {
	text = strings.ToLower(strings.TrimSpace(text))
	if !strings.Contains(text, "*") {
		return pattern{exact: text}
	}
	return pattern{parts: strings.Split(text, "*")}
}

// matches reports whether an action, in lower case, fits.
func (p pattern) matches(action string) bool {
	if p.parts == nil {
		return p.exact == action
	}
	last := len(p.parts) - 1
	rest, ok := strings.CutPrefix(action, p.parts[0])
	if !ok {
		return false
	}
	for _, part := range p.parts[1:last] {
		i := strings.Index(rest, part) // the leftmost leaves the most for the others
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, p.parts[last])
}

// Matches reports whether an action fits a pattern as role definitions have it.
func Matches(pattern, action string) bool {
	return compilePattern(pattern).matches(strings.ToLower(action))
}

type patterns []pattern

func compilePatterns(texts []string) patterns {
	var ps patterns
	for _, t := range texts {
		ps = append(ps, compilePattern(t))
	}
	return ps
}

func (ps patterns) match(action string) bool {
	for _, p := range ps {
		if p.matches(action) {
			return true
		}
	}
	return false
}
