package policy

import (
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// segment is one step of a path.
type segment = value.Segment

// path is what stands between two [*]: groups of segments. A path without [*]
// has one group.
type path [][]segment

// parsePath reads a.b['c'][0][*].d. A segment that looks like a number indexes
// an array.
func parsePath(text string) (path, string) {
	groups := path{nil}
	add := func(s segment) { groups[len(groups)-1] = append(groups[len(groups)-1], s) }
	for rest := text; rest != ""; {
		switch rest[0] {
		case '.':
			rest = rest[1:]
			if rest == "" || rest[0] == '.' || rest[0] == '[' {
				return nil, "a name is missing after a dot"
			}
		case '[':
			inner, after, ok := bracket(rest)
			if !ok {
				return nil, "a bracket is never closed"
			}
			if inner == "*" {
				groups = append(groups, nil)
			} else {
				add(newSegment(strings.Trim(inner, `'"`)))
			}
			rest = after
		default:
			n := strings.IndexAny(rest, ".[")
			if n < 0 {
				n = len(rest)
			}
			add(newSegment(rest[:n]))
			rest = rest[n:]
		}
	}
	return groups, ""
}

// bracket cuts [...] off; in quotes it may hold brackets.
func bracket(rest string) (inner, after string, ok bool) {
	if len(rest) > 1 && (rest[1] == '\'' || rest[1] == '"') {
		if end := strings.Index(rest, rest[1:2]+"]"); end > 1 {
			return rest[1 : end+1], rest[end+2:], true
		}
	}
	end := strings.IndexByte(rest, ']')
	if end < 0 {
		return "", "", false
	}
	return rest[1:end], rest[end+1:], true
}

func newSegment(name string) segment {
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && name[0] != '+' {
		return segment{Index: i}
	}
	return segment{Key: value.NewKey(name), Index: -1}
}

// stars returns how many [*] the path has.
func (p path) stars() int { return len(p) - 1 }

// String writes the path in its usual form.
func (p path) String() string {
	var b strings.Builder
	for i, group := range p {
		if i > 0 {
			b.WriteString("[*]")
		}
		for _, s := range group {
			switch {
			case s.Index >= 0:
				b.WriteString("[" + strconv.Itoa(s.Index) + "]")
			case strings.ContainsAny(s.Key.Name, ".[]"):
				b.WriteString("['" + s.Key.Name + "']")
			default:
				if b.Len() > 0 {
					b.WriteByte('.')
				}
				b.WriteString(s.Key.Name)
			}
		}
	}
	return b.String()
}
