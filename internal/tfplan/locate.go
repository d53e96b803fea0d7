package tfplan

import (
	"strings"
)

// Locate finds a resource block in the text of a .tf file, and in it the line of
// an attribute (os_disk.caching), of the innermost block around it that is there,
// or of the resource itself. Lines count from 1; false if the resource is not in
// the file.
func Locate(text, typ, name, attribute string) (int, bool) {
	s := scanner{text: text, line: 1}
	for {
		words, opens, ok := s.statement()
		if !ok {
			return 0, false
		}
		line := s.started
		if !opens {
			continue
		}
		if len(words) == 3 && words[0] == "resource" && words[1] == typ && words[2] == name {
			return s.inside(line, strings.Split(attribute, ".")), true
		}
		s.skip()
	}
}

// inside looks for an attribute in the block that was just opened.
func (s *scanner) inside(line int, path []string) int {
	for {
		words, opens, ok := s.statement()
		if !ok || len(words) == 0 && !opens {
			return line
		}
		found := len(words) > 0 && words[0] == path[0]
		switch {
		case found && opens && len(path) > 1:
			return s.inside(s.started, path[1:])
		case found:
			return s.started
		case opens:
			s.skip()
		}
	}
}

// scanner reads HCL as far as it takes to know where blocks and attributes start.
type scanner struct {
	text    string
	at      int
	line    int
	started int // the line on which the last statement started
}

// statement reads the words up to the = of an attribute, whose value is skipped,
// or the { that opens a block. No words and no block is the end of a block.
func (s *scanner) statement() (words []string, opens, ok bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '\n':
			s.line++
			s.at++
		case c == ' ' || c == '\t' || c == '\r' || c == ',':
			s.at++
		case s.comment():
		case c == '{':
			s.at++
			return words, true, true
		case c == '}':
			s.at++
			return nil, false, true
		case c == '=' || c == ':':
			s.at++
			s.value()
			return words, false, true
		case c == '"':
			s.begin(words)
			words = append(words, s.quoted())
		default:
			s.begin(words)
			words = append(words, s.word())
		}
	}
	return nil, false, false
}

func (s *scanner) begin(words []string) {
	if len(words) == 0 {
		s.started = s.line
	}
}

func (s *scanner) word() string {
	start := s.at
	for s.at < len(s.text) && !strings.ContainsRune(" \t\r\n{}=:\"#,", rune(s.text[s.at])) {
		s.at++
	}
	if s.at == start {
		s.at++
	}
	return s.text[start:s.at]
}

// value skips an expression: to the end of the line on which no bracket is open.
func (s *scanner) value() {
	for depth := 0; s.at < len(s.text); {
		switch c := s.text[s.at]; {
		case s.comment() || s.heredoc():
		case c == '"':
			s.quoted()
		case c == '\n' && depth == 0:
			return
		case c == '}' && depth == 0:
			return
		case strings.IndexByte("{[(", c) >= 0:
			depth++
			s.at++
		case strings.IndexByte("}])", c) >= 0:
			depth--
			s.at++
		default:
			if c == '\n' {
				s.line++
			}
			s.at++
		}
	}
}

// skip leaves the block that was just opened.
func (s *scanner) skip() {
	for depth := 1; s.at < len(s.text) && depth > 0; {
		switch c := s.text[s.at]; {
		case s.comment() || s.heredoc():
		case c == '"':
			s.quoted()
		default:
			switch c {
			case '\n':
				s.line++
			case '{':
				depth++
			case '}':
				depth--
			}
			s.at++
		}
	}
}

// quoted reads a string; templates in it may hold strings of their own.
func (s *scanner) quoted() string {
	start, templates := s.at+1, 0
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '\\':
			s.at++
		case c == '\n':
			s.line++
		case (c == '$' || c == '%') && strings.HasPrefix(s.text[s.at+1:], "{"):
			templates++
			s.at++
		case c == '}' && templates > 0:
			templates--
		case c == '"' && templates > 0:
			s.quoted()
			s.at--
		case c == '"':
			s.at++
			return s.text[start : s.at-1]
		}
	}
	return ""
}

// comment skips one, if there is one here.
func (s *scanner) comment() bool {
	rest := s.text[s.at:]
	switch {
	case strings.HasPrefix(rest, "#"), strings.HasPrefix(rest, "//"):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		s.at += end
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest, "*/")
		if end < 0 {
			end = len(rest) - 2
		}
		s.line += strings.Count(rest[:end+2], "\n")
		s.at += end + 2
	default:
		return false
	}
	return true
}

// heredoc skips <<EOT … EOT, if there is one here.
func (s *scanner) heredoc() bool {
	rest, ok := strings.CutPrefix(s.text[s.at:], "<<")
	if !ok {
		return false
	}
	first, body, _ := strings.Cut(rest, "\n")
	marker := strings.TrimSpace(strings.TrimPrefix(first, "-"))
	if marker == "" {
		s.at += 2
		return true
	}
	s.at += 2 + len(first)
	for body != "" || s.at < len(s.text) {
		line, more, _ := strings.Cut(body, "\n")
		s.at += 1 + len(line)
		s.line++
		if strings.TrimSpace(line) == marker || more == "" && body == line {
			break
		}
		body = more
	}
	s.at = min(s.at, len(s.text))
	return true
}
