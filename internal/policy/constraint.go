package policy

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Limits of one rule. Azure documents 512 conditions; the service layer applies
// Azure's limit, these keep the engine safe from any input.
const (
	MaxConditions = 4096
	MaxNesting    = 128
)

// Kind is the kind of a Constraint.
type Kind uint8

// The kinds of constraints. A condition compares a field, a value or a count.
const (
	AllOf Kind = iota
	AnyOf
	Not
	FieldCondition
	ValueCondition
	CountCondition
)

var kindNames = [...]string{"allOf", "anyOf", "not", "field", "value", "count"}

func (k Kind) String() string { return kindNames[k] }

// Constraint is a node of a rule's if.
type Constraint struct {
	Kind     Kind
	Path     string // JSON path of the node
	Pos      int    // byte offset of the node
	Children []*Constraint

	Field    string // FieldCondition: as written, perhaps an expression
	Value    Value  // ValueCondition
	Count    *Count // CountCondition
	leftPos  int
	leftPath string

	Operator    Operator
	Operand     Value
	operandPath string
}

// Count is the operand of a CountCondition: the elements of a field with [*],
// or of a value.
type Count struct {
	Field string
	Value Value // Undefined for a field count
	Name  string
	Where *Constraint // nil: every element counts
	path  string
	pos   int
}

func (p *definitionParser) constraint(v Value, path string) *Constraint {
	c := &Constraint{Path: path, Pos: v.Pos()}
	if v.Kind() != value.Object {
		p.add(InvalidRule, path, v.Pos(), "a condition must be an object, not the %s", v.Kind())
		return c
	}
	if p.depth++; p.depth > MaxNesting {
		p.add(TooComplex, path, v.Pos(), "conditions nest deeper than %d levels", MaxNesting)
		return c
	}
	defer func() { p.depth-- }()
	members := p.members(v, path)
	for _, m := range members {
		switch value.LowerASCII(m.key) {
		case "allof", "anyof", "not":
			if len(members) > 1 {
				p.add(InvalidRule, m.path, m.pos, "%s must be the only key of its object", m.key)
			}
			p.logical(c, m)
			return c
		}
	}
	p.condition(c, v, members)
	return c
}

func (p *definitionParser) logical(c *Constraint, m entry) {
	c.Kind = map[string]Kind{"allof": AllOf, "anyof": AnyOf, "not": Not}[value.LowerASCII(m.key)]
	if c.Kind == Not {
		c.Children = []*Constraint{p.constraint(m.value, m.path)}
		return
	}
	if m.value.Kind() != value.Array {
		p.add(InvalidRule, m.path, m.value.Pos(), "%s must be an array of conditions, not the %s", m.key, m.value.Kind())
		return
	}
	for i, e := range m.value.Elems() {
		c.Children = append(c.Children, p.constraint(e, fmt.Sprintf("%s[%d]", m.path, i)))
	}
}

func (p *definitionParser) condition(c *Constraint, v Value, members []entry) {
	if p.def.conditions++; p.def.conditions == MaxConditions+1 {
		p.add(TooComplex, c.Path, c.Pos, "the rule has more than %d conditions", MaxConditions)
	}
	lefts, operators := 0, 0
	for _, m := range members {
		key := value.LowerASCII(m.key)
		switch key {
		case "field", "value", "count":
			lefts++
			c.leftPos, c.leftPath = m.value.Pos(), m.path
			p.left(c, key, m)
			continue
		}
		op, ok := operatorNamed(key)
		if !ok {
			p.add(InvalidRule, m.path, m.pos, "unknown key %s; a condition has field, value or count, and one operator%s", m.key, suggestOperator(key))
			continue
		}
		operators++
		c.Operator, c.Operand, c.operandPath = op, m.value, m.path
	}
	if lefts != 1 {
		p.add(InvalidRule, c.Path, v.Pos(), "a condition needs exactly one of field, value and count, and has %d", lefts)
	}
	if operators != 1 {
		p.add(InvalidRule, c.Path, v.Pos(), "a condition needs exactly one operator, and has %d", operators)
	}
}

func (p *definitionParser) left(c *Constraint, key string, m entry) {
	switch key {
	case "field":
		c.Kind, c.Field = FieldCondition, m.value.Str()
		if m.value.Kind() != value.String {
			p.add(InvalidRule, m.path, m.value.Pos(), "field must be text, not the %s", m.value.Kind())
		}
	case "value":
		c.Kind, c.Value = ValueCondition, m.value
	case "count":
		c.Kind, c.Count = CountCondition, p.count(m)
	}
}

func (p *definitionParser) count(e entry) *Count {
	count := &Count{path: e.path, pos: e.value.Pos()}
	if e.value.Kind() != value.Object {
		p.add(InvalidRule, e.path, e.value.Pos(), "count must be an object, not the %s", e.value.Kind())
		return count
	}
	fields, values, hasName := 0, 0, false
	for _, m := range p.members(e.value, e.path) {
		switch value.LowerASCII(m.key) {
		case "field":
			fields++
			count.Field = m.value.Str()
			if m.value.Kind() != value.String {
				p.add(InvalidRule, m.path, m.value.Pos(), "field must be text, not the %s", m.value.Kind())
			}
		case "value":
			values++
			count.Value = m.value
		case "name":
			hasName = true
			count.Name = m.value.Str()
			if m.value.Kind() != value.String {
				p.add(InvalidRule, m.path, m.value.Pos(), "name must be text, not the %s", m.value.Kind())
			}
		case "where":
			count.Where = p.constraint(m.value, m.path)
		default:
			p.add(InvalidRule, m.path, m.pos, "unknown key %s in count; it knows field, value, name and where", m.key)
		}
	}
	if fields+values != 1 {
		p.add(InvalidRule, e.path, e.value.Pos(), "count needs exactly one of field and value, and has %d", fields+values)
	}
	if hasName && values == 0 {
		p.add(InvalidRule, e.path, e.value.Pos(), "name goes with a count over a value; a count over a field is named by its alias")
	}
	return count
}

// suggestOperator helps with the usual slips.
func suggestOperator(key string) string {
	switch {
	case strings.HasPrefix(key, "not") && len(key) > 3 && key != "notexists":
		return ""
	case key == "notexists":
		return "; write exists: false"
	case key == "equal" || key == "eq":
		return "; did you mean equals?"
	case key == "greaterthan" || key == "lessthan":
		return "; did you mean greater or less?"
	}
	return ""
}
