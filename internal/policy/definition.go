package policy

import (
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Value is a JSON value.
type Value = value.Value

// Definition is a parsed policy definition.
type Definition struct {
	ID, Name    string
	DisplayName string
	Description string
	PolicyType  string
	Mode        string // as written; "" means All
	Version     string
	Metadata    Value
	Parameters  []Parameter
	If          *Constraint
	Effect      string // as written, perhaps an expression
	Details     Value  // Undefined when absent

	existence  *Constraint // details.existenceCondition
	rulePath   string      // of policyRule; "" for a bare rule
	effectPos  int
	text       string
	conditions int
}

// Parameter is one declared parameter.
type Parameter struct {
	Name          string
	Type          string
	Default       Value // Undefined when absent
	AllowedValues Value // Undefined when absent
	StrongType    string
	DisplayName   string
}

// ParseDefinition parses the text of a definition: {"properties": {...}} or the
// bare contents. The error is a Problems with everything that is wrong.
func ParseDefinition(text string) (*Definition, error) {
	p := value.Parser{KeepDuplicates: true}
	v, err := p.Parse(text)
	if err != nil {
		return nil, syntaxProblems(err)
	}
	return DefinitionFromValue(v, text)
}

// ParseRule parses the text of a policyRule: {"if": ..., "then": ...}.
func ParseRule(text string) (*Definition, error) {
	p := value.Parser{KeepDuplicates: true}
	v, err := p.Parse(text)
	if err != nil {
		return nil, syntaxProblems(err)
	}
	return RuleFromValue(v, text)
}

func syntaxProblems(err error) Problems {
	var syntax *value.SyntaxError
	if errors.As(err, &syntax) {
		return Problems{{Code: InvalidJSON, Line: syntax.Line, Column: syntax.Column, Message: syntax.Reason}}
	}
	return Problems{{Code: InvalidJSON, Message: err.Error()}}
}

// DefinitionFromValue is ParseDefinition for JSON that is already parsed; text is
// what positions refer to, "" if unknown.
func DefinitionFromValue(v Value, text string) (*Definition, error) {
	p := &definitionParser{report: report{text: text}, def: &Definition{text: text}}
	p.definition(v)
	return p.result()
}

// RuleFromValue is ParseRule for JSON that is already parsed.
func RuleFromValue(v Value, text string) (*Definition, error) {
	p := &definitionParser{report: report{text: text}, def: &Definition{text: text}}
	p.rule(v, "")
	return p.result()
}

type definitionParser struct {
	report
	def   *Definition
	depth int
}

func (p *definitionParser) result() (*Definition, error) {
	if err := p.problems.err(); err != nil {
		return nil, err
	}
	return p.def, nil
}

// definitionKeys are the keys that the language knows, in lower case.
var definitionKeys = map[string]bool{
	"properties": true, "policyrule": true, "parameters": true, "mode": true, "metadata": true,
	"displayname": true, "description": true, "policytype": true, "version": true, "versions": true,
}

func (p *definitionParser) definition(v Value) {
	if v.Kind() != value.Object {
		p.add(InvalidDefinition, "", v.Pos(), "a definition must be an object, not the %s", v.Kind())
		return
	}
	known := map[string]entry{}
	p.collect(known, v, "")
	for i := range v.Len() {
		switch value.LowerASCII(v.Key(i)) {
		case "id":
			p.def.ID = v.At(i).Str()
		case "name":
			p.def.Name = v.At(i).Str()
		}
	}
	p.contents(known, v)
}

// entry is a member of an object with its path.
type entry struct {
	path  string
	key   string
	pos   int
	value Value
}

// collect takes the known keys of v. What stands in properties counts as if it
// stood at the top, so a key may not be in both; but a key after properties is
// ignored there.
func (p *definitionParser) collect(known map[string]entry, v Value, path string) {
	sawProperties := false
	for i := range v.Len() {
		key := value.LowerASCII(v.Key(i))
		e := entry{path: join(path, v.Key(i)), key: v.Key(i), pos: v.KeyPos(i), value: v.At(i)}
		if !definitionKeys[key] || sawProperties && key != "properties" {
			continue
		}
		if _, twice := known[key]; twice {
			p.add(DuplicateKey, e.path, e.pos, "the key %s is given twice", e.key)
			continue
		}
		known[key] = e
		if key == "properties" && path == "" && e.value.Kind() == value.Object {
			sawProperties = true
			p.collect(known, e.value, e.path)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (p *definitionParser) contents(known map[string]entry, v Value) {
	text := func(key string) string {
		e := known[key]
		if !e.value.IsNothing() && e.value.Kind() != value.String {
			p.add(InvalidDefinition, e.path, e.value.Pos(), "%s must be text, not the %s", e.key, e.value.Kind())
		}
		return e.value.Str()
	}
	p.def.Mode, p.def.DisplayName, p.def.Description = text("mode"), text("displayname"), text("description")
	p.def.PolicyType, p.def.Version = text("policytype"), text("version")
	p.def.Metadata = known["metadata"].value
	if e, ok := known["parameters"]; ok && !e.value.IsNothing() {
		p.parameters(e)
	}
	rule, ok := known["policyrule"]
	if !ok {
		p.add(InvalidDefinition, known["properties"].path, v.Pos(), "policyRule is missing")
		return
	}
	p.def.rulePath = rule.path
	p.rule(rule.value, rule.path)
}

func (p *definitionParser) parameters(e entry) {
	if e.value.Kind() != value.Object {
		p.add(InvalidDefinition, e.path, e.value.Pos(), "parameters must be an object, not the %s", e.value.Kind())
		return
	}
	for _, m := range p.members(e.value, e.path) {
		p.def.Parameters = append(p.def.Parameters, p.parameter(m))
	}
}

func (p *definitionParser) parameter(e entry) Parameter {
	param := Parameter{Name: e.key}
	if e.value.Kind() != value.Object {
		p.add(InvalidDefinition, e.path, e.value.Pos(), "a parameter must be an object, not the %s", e.value.Kind())
		return param
	}
	for _, m := range p.members(e.value, e.path) {
		switch value.LowerASCII(m.key) {
		case "type":
			param.Type = m.value.Str()
		case "defaultvalue":
			param.Default = m.value
		case "allowedvalues":
			param.AllowedValues = m.value
		case "metadata":
			param.StrongType = m.value.Find(value.NewKey("strongType")).Str()
			param.DisplayName = m.value.Find(value.NewKey("displayName")).Str()
		}
	}
	return param
}

// members lists an object's members and reports keys that are given twice,
// ignoring case.
func (p *definitionParser) members(v Value, path string) []entry {
	entries := make([]entry, 0, v.Len())
	seen := make(map[string]bool, v.Len())
	for i := range v.Len() {
		e := entry{path: join(path, v.Key(i)), key: v.Key(i), pos: v.KeyPos(i), value: v.At(i)}
		if key := value.LowerASCII(e.key); seen[key] {
			p.add(DuplicateKey, e.path, e.pos, "the key %s is given twice", e.key)
			continue
		} else {
			seen[key] = true
		}
		entries = append(entries, e)
	}
	return entries
}

func (p *definitionParser) rule(v Value, path string) {
	if v.Kind() != value.Object {
		p.add(InvalidRule, path, v.Pos(), "a policy rule must be an object with if and then, not the %s", v.Kind())
		return
	}
	var hasIf, hasThen bool
	for _, m := range p.members(v, path) {
		switch value.LowerASCII(m.key) {
		case "if":
			hasIf = true
			p.def.If = p.constraint(m.value, m.path)
		case "then":
			hasThen = true
			p.then(m)
		}
	}
	if !hasIf {
		p.add(InvalidRule, path, v.Pos(), "if is missing")
	}
	if !hasThen {
		p.add(InvalidRule, path, v.Pos(), "then is missing")
	}
}

func (p *definitionParser) then(e entry) {
	if e.value.Kind() != value.Object {
		p.add(InvalidRule, e.path, e.value.Pos(), "then must be an object with an effect, not the %s", e.value.Kind())
		return
	}
	hasEffect := false
	for _, m := range p.members(e.value, e.path) {
		switch value.LowerASCII(m.key) {
		case "effect":
			hasEffect = true
			p.def.Effect, p.def.effectPos = m.value.Str(), m.value.Pos()
			if m.value.Kind() != value.String {
				p.add(InvalidRule, m.path, m.value.Pos(), "effect must be text, not the %s", m.value.Kind())
			}
		case "details":
			p.def.Details = m.value
			p.details(m)
		}
	}
	if !hasEffect {
		p.add(InvalidRule, e.path, e.value.Pos(), "effect is missing")
	}
}

// details parses the existence condition; the rest depends on the effect and is
// read by Compile.
func (p *definitionParser) details(e entry) {
	for i := range e.value.Len() {
		if e.value.Kind() == value.Object && strings.EqualFold(e.value.Key(i), "existenceCondition") {
			if v := e.value.At(i); v.Kind() != value.Null {
				p.def.existence = p.constraint(v, join(e.path, e.value.Key(i)))
			}
		}
	}
}

// detailsPath is the JSON path of details.
func (d *Definition) detailsPath() string { return join(d.rulePath, "then.details") }

// ParameterNamed returns a declared parameter; names ignore case.
func (d *Definition) ParameterNamed(name string) (Parameter, bool) {
	for _, p := range d.Parameters {
		if value.EqualASCII(p.Name, name) {
			return p, true
		}
	}
	return Parameter{}, false
}

// Conditions returns how many conditions the rule and its existence condition have.
func (d *Definition) Conditions() int { return d.conditions }

// Label names the definition for a reader.
func (d *Definition) Label() string {
	for _, s := range []string{d.DisplayName, d.Name, d.ID} {
		if s != "" {
			return s
		}
	}
	return fmt.Sprintf("a rule with effect %s", d.Effect)
}
