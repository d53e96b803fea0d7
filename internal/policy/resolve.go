package policy

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// conditionField compiles a field name of a condition. Inside a count on a[*],
// a[*].x is the current element's x.
func (c *compiler) conditionField(name string) (*ref, error) {
	r, err := c.resolve(name)
	if r != nil {
		c.number(r)
		c.depend(dependency{ref: r})
	}
	return r, err
}

func (c *compiler) resolve(name string) (*ref, error) {
	for i := len(c.scopes) - 1; i >= 0; i-- {
		if r, ok, err := c.scoped(&c.scopes[i], name); err != nil || ok {
			return r, err
		}
	}
	if tag, ok := tagName(name); ok {
		return &ref{name: name, slot: -1, special: specialTag, tag: value.NewKey(tag)}, nil
	}
	return c.documentField(name)
}

// functionField compiles the argument of field(): it reads the resource itself,
// also inside an existence condition, and tags.a.b is a path there.
func (c *compiler) functionField(name string) (*ref, error) {
	r, err := c.resolveFunction(name)
	if r != nil {
		c.depend(dependency{ref: r})
	}
	return r, err
}

func (c *compiler) resolveFunction(name string) (*ref, error) {
	for i := len(c.scopes) - 1; i >= 0; i-- {
		if r, ok, err := c.scoped(&c.scopes[i], name); err != nil || ok {
			return r, err
		}
	}
	var r *ref
	var err error
	if tag, ok := tagName(name); ok && name[4] == '[' {
		r = &ref{name: name, slot: -1, special: specialTag, tag: value.NewKey(tag)}
	} else if ok {
		r, err = c.rawField(name)
	} else {
		r, err = c.documentField(name)
	}
	if r != nil {
		r.primary = true
		c.number(r)
	}
	return r, err
}

// scoped resolves a name against a field count: a[*], a[*].x, and also a and
// a.x, mean the current element.
func (c *compiler) scoped(s *scope, name string) (*ref, bool, error) {
	if s.ref == nil {
		return nil, false, nil
	}
	lower := value.LowerASCII(name)
	rest, ok := cutPrefix(name, lower, s.prefix)
	if !ok {
		if rest, ok = cutPrefix(name, lower, strings.TrimSuffix(s.prefix, "[*]")); !ok {
			return nil, false, nil
		}
	}
	full := s.ref.name[:len(s.prefix)] + rest
	r := &ref{name: name, slot: s.slot, level: s.level, primary: s.ref.primary}
	if rest == "" {
		c.depend(dependency{ref: s.ref})
		r.paths, r.level = []typedPath{{onePath: newOnePath(path{nil})}}, 0
		return r, true, nil
	}
	if s.ref.special == specialFact || c.options.Aliases == nil || s.ref.raw {
		p, bad := parsePath(full)
		if bad != "" {
			return nil, true, &problemError{InvalidAlias, fmt.Sprintf("the path %s is broken: %s", name, bad)}
		}
		r.paths = []typedPath{{onePath: newOnePath(p)}}
	} else {
		found, err := c.aliases(full)
		if err != nil {
			return nil, true, err
		}
		var bad string
		if r.paths, bad = typedPaths(found); bad != "" {
			return nil, true, &problemError{InvalidAlias, bad}
		}
		if len(found) == 0 {
			r.paths = s.ref.extended(s.level, rest)
		}
	}
	r.stars = r.paths[0].path.stars() - r.level
	if r.stars < 0 {
		return nil, true, &problemError{InvalidAlias, "the path of " + name + " does not lie in the counted array"}
	}
	return r, true, nil
}

// isRaw says that the ref was made from a path, not from an alias.
func (r *ref) isRaw() bool {
	return len(r.paths) == 1 && r.paths[0].typ == "" && r.short.properties == nil
}

// extended is the path of the counted field up to its current element, followed
// by what an unknown alias has behind that.
func (r *ref) extended(level int, rest string) []typedPath {
	tail, bad := parsePath(rest)
	if bad != "" {
		tail = path{nil}
	}
	known := r.paths
	switch {
	case len(known) > 0:
	case r.short.properties == nil: // the counted field is no path at all
		known = []typedPath{{onePath: newOnePath(path{nil})}}
	default:
		known = []typedPath{{onePath: newOnePath(r.short.properties)}}
	}
	var paths []typedPath
	for _, t := range known {
		p := t.path[:min(level, len(t.path))]
		paths = append(paths, typedPath{typ: t.typ, key: t.key, onePath: newOnePath(joinPaths(p, tail))})
	}
	return paths
}

// joinPaths appends the groups of tail, whose first is what stands behind the
// last [*] of head.
func joinPaths(head, tail path) path { return append(append(path(nil), head...), tail...) }

func cutPrefix(name, lower, prefix string) (rest string, ok bool) {
	if !strings.HasPrefix(lower, prefix) {
		return "", false
	}
	rest = name[len(prefix):]
	return rest, rest == "" || rest[0] == '.' || rest[0] == '['
}

// throughElement says that a function's field stands in a count: it gives an
// array of the current element's value.
func (r *ref) throughElement() bool { return r.slot >= 0 }

func (c *compiler) documentField(name string) (*ref, error) {
	lower := value.LowerASCII(name)
	if s, ok := builtinFields[lower]; ok {
		if s != bySpecialNone {
			return &ref{name: name, slot: -1, special: s}, nil
		}
		return c.rawField(name)
	}
	if strings.HasPrefix(lower, "identity.") || c.options.Aliases == nil || lower == "tags[*]" {
		return c.rawOrFact(name, lower)
	}
	if strings.HasPrefix(lower, "hallmark.") {
		return c.rawOrFact(name, lower)
	}
	found, err := c.aliases(name)
	if err != nil {
		return nil, err
	}
	return c.aliasField(name, found)
}

func (c *compiler) rawOrFact(name, lower string) (*ref, error) {
	if strings.HasPrefix(lower, "hallmark.") && strings.Contains(lower, "/") && !strings.Contains(lower, "[*]") {
		return &ref{name: name, slot: -1, special: specialFact, tag: value.NewKey(name)}, nil
	}
	return c.rawField(name)
}

// rawField addresses the document directly.
func (c *compiler) rawField(name string) (*ref, error) {
	p, bad := parsePath(name)
	if bad != "" {
		return nil, &problemError{InvalidAlias, fmt.Sprintf("the path %s is broken: %s", name, bad)}
	}
	return &ref{name: name, slot: -1, raw: true, paths: []typedPath{{onePath: newOnePath(p)}}, stars: p.stars()}, nil
}

// aliases looks a name up. None and no error means that an unknown alias is
// tolerated.
func (c *compiler) aliases(name string) ([]alias.Alias, error) {
	found := c.options.Aliases.Lookup(name)
	if len(found) > 0 {
		c.noteDeprecated(name, found)
		return found, nil
	}
	message := fmt.Sprintf("%s is not a known alias", name)
	if nearest := c.options.Aliases.Nearest(name); nearest != "" {
		message += "; the nearest known one is " + nearest
	}
	if !c.options.TolerateUnknownAliases {
		return nil, &problemError{InvalidAlias, message}
	}
	c.warnings.add(InvalidAlias, c.at, c.atPos, "%s", message)
	return nil, nil
}

func (c *compiler) noteDeprecated(name string, found []alias.Alias) {
	for _, a := range found {
		if a.Deprecated {
			c.warnings.add(InvalidAlias, c.at, c.atPos, "the alias %s of %s is deprecated", name, a.Type)
		}
	}
}

func (c *compiler) aliasField(name string, found []alias.Alias) (*ref, error) {
	r := &ref{name: name, slot: -1}
	short := shortName(name)
	if len(found) > 0 {
		short = found[len(found)-1].Short()
	}
	var bad string
	if r.paths, bad = typedPaths(found); bad != "" {
		return nil, &problemError{InvalidAlias, bad}
	}
	r.short = newShortPath(short)
	r.stars = strings.Count(name, "[*]")
	if len(r.paths) > 0 {
		r.stars = r.paths[0].path.stars()
	}
	c.simplify(r)
	return r, nil
}

// simplify drops the fallback to the short name where it says the same as the
// only path.
func (c *compiler) simplify(r *ref) {
	if c.writing || len(r.paths) != 1 || len(r.paths[0].versions) > 0 || r.short.root != nil || r.short.properties == nil {
		return
	}
	if value.EqualASCII(r.paths[0].path.String(), r.short.properties.String()) {
		r.paths[0].typ = ""
		r.short = shortPath{}
	}
}

// shortName is the short name of an alias that no table knows.
func shortName(name string) string {
	return alias.Alias{Name: name}.Short()
}

// fieldNames compiles the field of a condition, which may be one of two shapes
// of expressions: if(condition, 'aliasA', 'aliasB') and concat('tags...', ...).
func (c *compiler) fieldNames(field, path string, pos int) *fieldChoice {
	c.at, c.atPos = path, pos
	if !expr.IsExpression(field) {
		return c.oneField(expr.Unescape(field))
	}
	node, err := expr.Parse(field)
	if err != nil {
		c.expressionProblem(err)
		return nil
	}
	call, _ := node.(*expr.Call)
	switch {
	case call != nil && value.EqualASCII(call.Name, "if") && len(call.Args) == 3:
		return c.ifField(field, call)
	case call != nil && value.EqualASCII(call.Name, "concat") && startsWithTags(call):
		return c.tagField(field, path, pos)
	}
	c.add(InvalidExpression, path, pos, "as a field only [if(condition, 'alias', 'alias')] and [concat('tags[', ...)] may be expressions")
	return nil
}

// fieldChoice is a field of a condition: fixed, one of two, or a tag whose name
// is computed.
type fieldChoice struct {
	ref       *ref
	condition operand // two: which
	other     *ref
	tag       operand // a computed name; ref is nil
}

func (c *compiler) oneField(name string) *fieldChoice {
	r, err := c.conditionField(name)
	if err != nil {
		c.expressionProblem(err)
		return nil
	}
	return &fieldChoice{ref: r}
}

func (c *compiler) ifField(field string, call *expr.Call) *fieldChoice {
	var choice fieldChoice
	path, pos := c.at, c.atPos
	for i, into := range []**ref{&choice.ref, &choice.other} {
		lit, ok := call.Args[i+1].(*expr.Literal)
		if !ok || lit.Value.Kind() != value.String {
			c.add(InvalidExpression, path, pos, "argument %d of if must be an alias in single quotes", i+2)
			return nil
		}
		r, err := c.conditionField(lit.Value.Str())
		if err != nil {
			c.expressionProblem(err)
			return nil
		}
		*into = r
	}
	program, err := expr.Compile(field, call.Args[0], expr.Policy, binder{c})
	if err != nil {
		c.expressionProblem(err)
		return nil
	}
	choice.condition = operand{code: program.Eval}
	if v, ok := program.Const(); ok {
		if !v.IsTrue() {
			choice.ref = choice.other
		}
		choice.other = nil
	}
	return &choice
}

func startsWithTags(call *expr.Call) bool {
	if len(call.Args) == 0 {
		return false
	}
	lit, ok := call.Args[0].(*expr.Literal)
	if !ok || lit.Value.Kind() != value.String {
		return false
	}
	first := value.LowerASCII(lit.Value.Str())
	return first == "tags" || strings.HasPrefix(first, "tags.") || strings.HasPrefix(first, "tags[")
}

func (c *compiler) tagField(field, path string, pos int) *fieldChoice {
	name := c.expression(field, path, pos)
	if name.code == nil && name.constant.Kind() == value.String {
		return c.oneField(name.constant.Str())
	}
	if tags, err := c.rawField("tags"); err == nil {
		tags.name = field
		c.depend(dependency{ref: tags})
	}
	return &fieldChoice{tag: name}
}
