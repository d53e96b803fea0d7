package policy

import (
	"fmt"

	"hallmark.dev/hallmark/internal/expr/value"
)

// brief is a value as text that fits a sentence.
func brief(v Value) string {
	const most = 60
	s := v.JSON()
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Effect is the family of an effect, in Azure's spelling.
type Effect string

// The effects. Other says that Azure leaves the effect to a data plane (mutate,
// enforceRegoPolicy and the like), or that nobody knows it.
const (
	Disabled          Effect = "disabled"
	Deny              Effect = "deny"
	Audit             Effect = "audit"
	Append            Effect = "append"
	Modify            Effect = "modify"
	AuditIfNotExists  Effect = "auditIfNotExists"
	DeployIfNotExists Effect = "deployIfNotExists"
	DenyAction        Effect = "denyAction"
	Manual            Effect = "manual"
	Other             Effect = "other"
)

var effects = []Effect{Disabled, Deny, Audit, Append, Modify, AuditIfNotExists, DeployIfNotExists, DenyAction, Manual}

// EffectNamed returns the family of an effect as written; case does not matter.
func EffectNamed(name string) Effect {
	for _, e := range effects {
		if value.EqualASCII(string(e), name) {
			return e
		}
	}
	return Other
}

// Order returns the place of the effect in the order in which Azure evaluates:
// disabled, append and modify, deny, audit, manual, then the existence checks,
// denyAction, and what is unknown.
func (e Effect) Order() int {
	switch e {
	case Disabled:
		return 0
	case Append, Modify:
		return 1
	case Deny:
		return 2
	case Audit:
		return 3
	case Manual:
		return 4
	case AuditIfNotExists:
		return 5
	case DeployIfNotExists:
		return 6
	case DenyAction:
		return 7
	}
	return 8
}

// shape is what details look like, whatever the effect.
type shape uint8

const (
	bareShape shape = iota
	existenceShape
	modifyShape
	appendShape
)

// details are the compiled parts of then.details.
type details struct {
	shape       shape
	raw         Value
	members     map[string]Value // of an object, by lower-case key
	existence   existenceDetails
	operations  []operation
	roles       operand
	conflict    string
	hasRoles    bool
	malformed   *Problem // why the effect cannot use these details
	effectFixed bool
}

// existenceDetails say which related resource to look for.
type existenceDetails struct {
	typ, name, kind, resourceGroup, scope operand
	path                                  string // of the details

	// Where all of them are constant, as mostly, nothing is left to compute.
	constant bool
	query    Query
	details  Value  // what an unsatisfied check emits
	exists   string // the reason of a satisfied one
}

// operation is one operation of modify or append.
type operation struct {
	kind      string // add, addOrReplace, remove, append
	field     operand
	ref       *ref
	raw       string
	value     operand
	hasValue  bool
	condition operand
	rawCond   Value
	path      string
	check     string // why the field may not be modified; "" if it may
}

func (c *compiler) details(effect operand) details {
	d := details{raw: c.def.Details, members: map[string]Value{}, conflict: "deny"}
	if d.raw.Kind() == value.Object {
		for i := range d.raw.Len() {
			d.members[value.LowerASCII(d.raw.Key(i))] = d.raw.At(i)
		}
	}
	family := Other
	if effect.code == nil {
		family, d.effectFixed = EffectNamed(effect.constant.Str()), true
	}
	d.shape = shapeFor(family, &d, c.def.existence != nil)
	path := c.def.detailsPath()
	switch d.shape {
	case existenceShape:
		c.existenceDetails(&d, path)
	case modifyShape:
		c.modifyDetails(&d, path)
	case appendShape:
		c.appendDetails(&d, path)
	}
	return d
}

// shapeFor decides by the effect; where that is not known yet, or unknown, by
// what the details contain.
func shapeFor(family Effect, d *details, existence bool) shape {
	_, hasOperations := d.members["operations"]
	_, hasType := d.members["type"]
	_, hasField := d.members["field"]
	_, hasValue := d.members["value"]
	switch family {
	case AuditIfNotExists, DeployIfNotExists:
		return existenceShape
	case Modify:
		if d.raw.Kind() == value.Object {
			return modifyShape
		}
		return bareShape
	case Append:
		if d.raw.IsNothing() {
			return bareShape
		}
		return appendShape
	case Other:
		switch {
		case existence || hasType:
			return existenceShape
		case hasOperations:
			return modifyShape
		case d.raw.Kind() == value.Array || hasField && hasValue:
			return appendShape
		}
	}
	return bareShape
}

func (c *compiler) existenceDetails(d *details, path string) {
	typ, ok := d.members["type"]
	if d.raw.Kind() != value.Object || !ok || typ.Kind() != value.String {
		c.add(InvalidRule, path, d.raw.Pos(), "the effect needs details with the type of the related resource")
		return
	}
	part := func(key string) operand {
		v := d.members[key]
		if v.IsNothing() {
			return operand{}
		}
		return c.operand(v, join(path, key))
	}
	d.existence = existenceDetails{path: path, typ: part("type"), name: part("name"), kind: part("kind"), resourceGroup: part("resourcegroupname"), scope: part("existencescope")}
	d.existence.prepare(d)
}

// prepare computes the query and the details if they are constant.
func (e *existenceDetails) prepare(d *details) {
	for _, o := range []*operand{&e.typ, &e.name, &e.kind, &e.resourceGroup, &e.scope} {
		if o.code != nil || o.constant.Kind() != value.String && !o.constant.IsUndefined() {
			return
		}
	}
	e.constant = true
	e.query = Query{Type: e.typ.constant.Str(), Name: e.name.constant.Str(), Kind: e.kind.constant.Str(),
		ResourceGroupName: e.resourceGroup.constant.Str(), ExistenceScope: e.scope.constant.Str()}
	e.details, e.exists = existenceEmits(e.query.Type, d), existsReason(e.query.Type)
}

// existenceEmits is what the raw result says of an unsatisfied check.
func existenceEmits(typ string, d *details) Value {
	fields := []value.Field{{Key: "type", Value: value.FromString(typ)}}
	if roles, ok := d.members["roledefinitionids"]; ok {
		fields = append(fields, value.Field{Key: "roleDefinitionIds", Value: roles})
	}
	return value.FromFields(fields)
}

func existsReason(typ string) string { return "the related " + typ + " exists" }

func (c *compiler) modifyDetails(d *details, path string) {
	if conflict := d.members["conflicteffect"]; !conflict.IsNothing() {
		o := c.operand(conflict, join(path, "conflictEffect"))
		d.conflict = value.LowerASCII(o.constant.Str())
		if o.code == nil && d.conflict != "audit" && d.conflict != "deny" && d.conflict != "disabled" {
			c.add(InvalidRule, join(path, "conflictEffect"), conflict.Pos(), "conflictEffect must be audit, deny or disabled, not %s", brief(o.constant))
		}
	}
	roles, ok := d.members["roledefinitionids"]
	if !ok || roles.Kind() != value.Array && roles.Kind() != value.String {
		c.add(InvalidRule, path, d.raw.Pos(), "modify needs roleDefinitionIds, an array")
	} else {
		d.roles, d.hasRoles = c.operand(roles, join(path, "roleDefinitionIds")), true
	}
	operations := d.members["operations"]
	if operations.Kind() != value.Array || operations.Len() == 0 {
		c.add(InvalidRule, path, d.raw.Pos(), "modify needs operations, an array with at least one")
		return
	}
	for i, v := range operations.Elems() {
		d.operations = append(d.operations, c.operation(v, fmt.Sprintf("%s.operations[%d]", path, i)))
	}
}

var operationKinds = []string{"add", "addOrReplace", "remove"}

func (c *compiler) operation(v Value, path string) operation {
	op := operation{path: path}
	get := func(key string) Value { return v.Find(value.NewKey(key)) }
	if v.Kind() != value.Object {
		c.add(InvalidRule, path, v.Pos(), "an operation must be an object, not the %s", v.Kind())
		return op
	}
	for _, k := range operationKinds {
		if value.EqualASCII(k, get("operation").Str()) {
			op.kind = k
		}
	}
	if op.kind == "" {
		c.add(InvalidRule, join(path, "operation"), v.Pos(), "operation must be add, addOrReplace or remove, not %s", brief(get("operation")))
	}
	c.target(&op, v, path)
	if op.kind == "remove" {
		op.hasValue = false
	} else if !op.hasValue {
		c.add(InvalidRule, path, v.Pos(), "%s needs a value", op.kind)
	}
	if op.rawCond = get("condition"); !op.rawCond.IsNothing() {
		op.condition = c.operand(op.rawCond, join(path, "condition"))
	}
	c.checkModifiable(&op, v)
	return op
}

// target compiles the field and value of an operation.
func (c *compiler) target(op *operation, v Value, path string) {
	field, val := v.Find(value.NewKey("field")), v.Find(value.NewKey("value"))
	if field.Kind() != value.String {
		c.add(InvalidRule, path, v.Pos(), "field is missing, or is not text")
		return
	}
	op.raw = field.Str()
	op.field = c.text(field.Str(), join(path, "field"), field.Pos())
	if !val.IsUndefined() {
		op.hasValue, op.value = true, c.operand(val, join(path, "value"))
	}
	if op.field.code == nil && op.field.constant.Kind() == value.String {
		op.ref = c.targetField(op.field.constant.Str(), join(path, "field"), field.Pos())
	}
}

// targetField resolves a field to write. An unknown alias is left to the host
// that applies the operation; it cannot be written here.
func (c *compiler) targetField(name, path string, pos int) *ref {
	lenient := *c
	lenient.options.TolerateUnknownAliases, lenient.writing = true, true
	lenient.problems, lenient.warnings.problems = nil, nil
	lenient.at, lenient.atPos = path, pos
	r, err := lenient.conditionField(name)
	if err != nil {
		return nil
	}
	for _, w := range lenient.warnings.problems {
		c.warnings.problems = append(c.warnings.problems, w)
	}
	return r
}

// checkModifiable refuses an alias that the table says may not be modified.
func (c *compiler) checkModifiable(op *operation, v Value) {
	if c.options.Aliases == nil || op.field.code != nil {
		return
	}
	for _, a := range c.options.Aliases.Lookup(op.field.constant.Str()) {
		if a.Modifiable == modifiableForbidden {
			op.check = fmt.Sprintf("the alias %s of %s is not modifiable", a.Name, a.Type)
			c.add(NotModifiable, join(op.path, "field"), v.Pos(), "%s", op.check)
			return
		}
	}
}

func (c *compiler) appendDetails(d *details, path string) {
	items, at := []Value{d.raw}, func(int) string { return path }
	if d.raw.Kind() == value.Array {
		items, at = d.raw.Elems(), func(i int) string { return fmt.Sprintf("%s[%d]", path, i) }
	}
	if len(items) == 0 {
		c.add(InvalidRule, path, d.raw.Pos(), "append needs at least one field with its value")
	}
	for i, v := range items {
		op := operation{kind: "append", path: at(i)}
		c.target(&op, v, op.path)
		if op.raw != "" && !op.hasValue {
			c.add(InvalidRule, op.path, v.Pos(), "value is missing")
		}
		d.operations = append(d.operations, op)
	}
}
