package policy

import (
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Initiative is a parsed policy set definition.
type Initiative struct {
	ID, Name    string
	DisplayName string
	Description string
	PolicyType  string
	Version     string
	Metadata    Value
	Parameters  []Parameter
	Members     []Member
	Groups      []Group

	text string
}

// Member is one definition of an initiative.
type Member struct {
	ReferenceID  string
	DefinitionID string
	Version      string // definitionVersion, for instance 1.*.*
	Parameters   Value  // plain values, perhaps expressions over the initiative's parameters
	Groups       []string
	path         string
}

// Group is one group of an initiative.
type Group struct {
	Name, DisplayName, Category, Description, AdditionalMetadataID string
}

// ParseInitiative parses the text of a policy set definition: {"properties":
// {...}} or the bare contents. The error is a Problems with everything that is
// wrong.
func ParseInitiative(text string) (*Initiative, error) {
	p := value.Parser{KeepDuplicates: true}
	v, err := p.Parse(text)
	if err != nil {
		return nil, syntaxProblems(err)
	}
	return InitiativeFromValue(v, text)
}

// InitiativeFromValue is ParseInitiative for JSON that is already parsed.
func InitiativeFromValue(v Value, text string) (*Initiative, error) {
	p := &definitionParser{report: report{text: text}, def: &Definition{}}
	set := &Initiative{text: text}
	if v.Kind() != value.Object {
		p.add(InvalidDefinition, "", v.Pos(), "an initiative must be an object, not the %s", v.Kind())
		return nil, p.problems
	}
	get := func(key string) Value { return v.Find(value.NewKey(key)) }
	set.ID, set.Name = get("id").Str(), get("name").Str()
	contents, path := v, ""
	if props := get("properties"); props.Kind() == value.Object {
		contents, path = props, "properties"
	}
	for _, m := range p.members(contents, path) {
		set.read(p, m)
	}
	if set.Members == nil && len(p.problems) == 0 {
		p.add(InvalidDefinition, path, v.Pos(), "policyDefinitions is missing")
	}
	set.Parameters = p.def.Parameters
	set.checkGroups(p)
	if err := p.problems.err(); err != nil {
		return nil, err
	}
	return set, nil
}

func (set *Initiative) read(p *definitionParser, m entry) {
	switch value.LowerASCII(m.key) {
	case "displayname":
		set.DisplayName = m.value.Str()
	case "description":
		set.Description = m.value.Str()
	case "policytype":
		set.PolicyType = m.value.Str()
	case "version":
		set.Version = m.value.Str()
	case "metadata":
		set.Metadata = m.value
	case "parameters":
		if !m.value.IsNothing() {
			p.parameters(m)
		}
	case "policydefinitions":
		set.members(p, m)
	case "policydefinitiongroups":
		for _, g := range m.value.Elems() {
			get := func(key string) string { return g.Find(value.NewKey(key)).Str() }
			set.Groups = append(set.Groups, Group{Name: get("name"), DisplayName: get("displayName"), Category: get("category"),
				Description: get("description"), AdditionalMetadataID: get("additionalMetadataId")})
		}
	}
}

func (set *Initiative) members(p *definitionParser, e entry) {
	if e.value.Kind() != value.Array {
		p.add(InvalidDefinition, e.path, e.value.Pos(), "policyDefinitions must be an array, not the %s", e.value.Kind())
		return
	}
	set.Members = []Member{}
	references := map[string]bool{}
	for i, v := range e.value.Elems() {
		path := fmt.Sprintf("%s[%d]", e.path, i)
		get := func(key string) Value { return v.Find(value.NewKey(key)) }
		m := Member{ReferenceID: get("policyDefinitionReferenceId").Str(), DefinitionID: get("policyDefinitionId").Str(),
			Version: get("definitionVersion").Str(), Parameters: PlainParameters(get("parameters")), path: path}
		if m.DefinitionID == "" {
			p.add(InvalidDefinition, path, v.Pos(), "policyDefinitionId of %s is missing", describe(i, m.ReferenceID))
		}
		if key := value.LowerASCII(m.ReferenceID); key != "" && references[key] {
			p.add(InvalidDefinition, path, v.Pos(), "the reference id %s is used twice", m.ReferenceID)
		} else {
			references[key] = true
		}
		for _, g := range get("groupNames").Elems() {
			m.Groups = append(m.Groups, g.Str())
		}
		set.Members = append(set.Members, m)
	}
}

// checkGroups reports groups that members name but the initiative lacks.
func (set *Initiative) checkGroups(p *definitionParser) {
	known := map[string]bool{}
	for _, g := range set.Groups {
		known[value.LowerASCII(g.Name)] = true
	}
	for i, m := range set.Members {
		for _, g := range m.Groups {
			if !known[value.LowerASCII(g)] {
				p.add(InvalidDefinition, m.path, 0, "%s names the group %s, which the initiative does not have", describe(i, m.ReferenceID), g)
			}
		}
	}
}

// MemberParameters returns the plain values that a member's definition gets when
// the initiative is assigned with these. A value that does not exist is left out,
// so that the definition's own default holds.
func (set *Initiative) MemberParameters(m Member, values Value) (Value, error) {
	c := newCompiler(&Definition{Parameters: set.Parameters, text: set.text}, Options{Parameters: values}, true)
	var fields []value.Field
	for i := range m.Parameters.Len() {
		name := m.Parameters.Key(i)
		o := c.operand(m.Parameters.At(i), m.path+".parameters."+name+".value")
		if o.code != nil {
			c.add(InvalidExpression, m.path+".parameters."+name, m.Parameters.At(i).Pos(), "a member's parameter may only depend on the initiative's parameters")
		}
		if !o.constant.IsUndefined() {
			fields = append(fields, value.Field{Key: name, Value: o.constant})
		}
	}
	return value.FromFields(fields), c.problems.err()
}
