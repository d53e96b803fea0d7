package kql

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// Patterns are RE2: their time is the product of the text's length and the program's.
const (
	maxPattern  = 1000
	maxProgram  = 2000
	maxRegexps  = 64        // that depend on the row, kept compiled
	maxMatching = 256 << 20 // bytes × instructions
)

// pattern is a compiled regular expression.
type pattern struct {
	*regexp.Regexp
	instructions int
}

func compileRegex(t token, text string) (*pattern, error) {
	if len(text) > maxPattern {
		return nil, errorAt(CodeTooLarge, t, "the regular expression is longer than %d characters", maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, errorAt(CodeParserFailure, t, "the regular expression cannot be read (RE2, as Kusto's): %v", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return nil, errorAt(CodeTooLarge, t, "the regular expression is too large once its repetitions are written out")
	}
	re, err := regexp.Compile(text)
	return &pattern{re, len(program.Inst)}, err
}

// regex gives the compiled pattern for a row; nil after a failure.
type regex func(f *frame) *pattern

func (c *compiler) regex(x expr) (regex, error) {
	if l, ok := x.(*literalExpr); ok {
		re, err := compileRegex(l.tok, l.value.Text())
		return func(*frame) *pattern { return re }, err
	}
	get, err := c.expr(x)
	t := x.at()
	return func(f *frame) *pattern {
		text := get(f).Text()
		if re, ok := f.env.regexps[text]; ok {
			return re
		}
		re, err := compileRegex(t, text)
		if err != nil {
			f.env.fail(err)
			return nil
		}
		if len(f.env.regexps) >= maxRegexps {
			clear(f.env.regexps)
		}
		f.env.regexps[strings.Clone(text)] = re
		return re
	}, err
}

// searchable refuses what would take too long.
func searchable(f *frame, t token, re *pattern, text string) bool {
	if re == nil {
		return false
	}
	cost := len(text) * re.instructions
	f.env.spend(cost / 16)
	if cost > maxMatching {
		f.env.fail(errorAt(CodeTooLarge, t, "a text of %d bytes is too long for this regular expression", len(text)))
	}
	return f.env.err == nil
}

func (c *compiler) matches(x *binaryExpr, l eval, _ eval) (eval, error) {
	re, err := c.regex(x.r)
	return func(f *frame) Value {
		text, r := l(f).Text(), re(f)
		if !searchable(f, x.tok, r, text) {
			return Null
		}
		return Bool(r.MatchString(text))
	}, err
}

// regexCall is the functions whose argument is a pattern.
func (c *compiler) regexCall(x *callExpr) (eval, error) {
	least, pattern, subject := 2, 0, 1
	switch x.name {
	case "extract":
		least, subject = 3, 2
	case "replace_regex":
		least, pattern, subject = 3, 1, 0
	}
	most := least
	if x.name == "extract" {
		most = 4
	}
	if err := arity(x, least, most); err != nil {
		return nil, err
	}
	re, err := c.regex(anchored(x.name, x.args[pattern]))
	if err != nil {
		return nil, err
	}
	args, err := c.args(x)
	return func(f *frame) Value {
		text, r := args[subject](f).Text(), re(f)
		if !searchable(f, x.tok, r, text) {
			return Null
		}
		switch x.name {
		case "extract":
			return extracted(r.Regexp, args[1](f), text)
		case "replace_regex":
			return f.env.made(x.tok, String(r.ReplaceAllString(text, rewritten(args[2](f).Text()))))
		}
		return String(r.ReplaceAllString(text, ""))
	}, err
}

// anchored makes trim's pattern one that matches at the ends only.
func anchored(name string, x expr) expr {
	l, ok := x.(*literalExpr)
	if !ok || !strings.HasPrefix(name, "trim") {
		return x
	}
	p := "(?:" + l.value.Text() + ")"
	switch name {
	case "trim":
		p = "^" + p + "|" + p + "$"
	case "trim_start":
		p = "^" + p
	case "trim_end":
		p += "$"
	}
	return &literalExpr{l.tok, String(p)}
}

func extracted(re *regexp.Regexp, group Value, text string) Value {
	found := re.FindStringSubmatch(text)
	i := int(toLong(group).n)
	if i < 0 || i >= len(found) {
		return String("")
	}
	return String(found[i])
}

// rewritten is Kusto's \1 in Go's words.
func rewritten(with string) string {
	var b strings.Builder
	with = strings.ReplaceAll(with, "$", "$$")
	for i := 0; i < len(with); i++ {
		if with[i] == '\\' && i+1 < len(with) && digit(with[i+1]) {
			i++
			b.WriteString("${" + with[i:i+1] + "}")
			continue
		}
		b.WriteByte(with[i])
	}
	return b.String()
}
