package policy

import (
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Changes are the operations of one modify or append effect, expressions
// evaluated and conditions decided.
type Changes struct {
	// ConflictEffect is audit, deny or disabled: what happens when an operation
	// cannot be applied. Append has deny.
	ConflictEffect string
	Operations     []Change
}

// Change is one operation on one field.
type Change struct {
	Operation string // add, addOrReplace, remove or append
	Field     string // as the rule names it, a computed tag name resolved
	Value     Value
	ref       *ref
}

// operations evaluates the operations of modify or append.
func (f *frame) operations(p *Program, v *Verdict, s shape) {
	d := &p.plan.details
	changes := &Changes{ConflictEffect: d.conflict}
	var emitted []Value
	for i := range d.operations {
		op := &d.operations[i]
		apply, ok := f.condition(op)
		if !ok {
			return
		}
		if !apply {
			continue
		}
		change, ok := f.change(op)
		if !ok {
			return
		}
		changes.Operations = append(changes.Operations, change)
		emitted = append(emitted, emittedOperation(op, change))
	}
	v.Changes = changes
	if s == appendShape {
		v.Details = value.FromSlice(emitted)
		return
	}
	fields := []value.Field{}
	if d.hasRoles {
		roles, ok := d.roles.value(f, join(p.def.detailsPath(), "roleDefinitionIds"))
		if !ok {
			return
		}
		fields = append(fields, value.Field{Key: "roleDefinitionIds", Value: roles})
	}
	v.Details = value.FromFields(append(fields, value.Field{Key: "operations", Value: value.FromSlice(emitted)}))
}

// condition decides whether an operation applies.
func (f *frame) condition(op *operation) (apply, ok bool) {
	if op.rawCond.IsNothing() {
		return true, true
	}
	path := join(op.path, "condition")
	v, ok := op.condition.value(f, path)
	if !ok {
		return false, false
	}
	if b, isText := textBool(v); isText {
		return b, true
	}
	if v.Kind() != value.Bool {
		f.fail(path, fmt.Errorf("the condition must give a boolean, not the %s", v.Kind()))
		return false, false
	}
	return v.IsTrue(), true
}

func textBool(v Value) (held, ok bool) {
	if v.Kind() != value.String {
		return false, false
	}
	yes, no := value.EqualASCII(v.Str(), "true"), value.EqualASCII(v.Str(), "false")
	return yes, yes || no
}

func (f *frame) change(op *operation) (Change, bool) {
	c := Change{Operation: op.kind, Field: op.raw, ref: op.ref}
	name, ok := op.field.value(f, join(op.path, "field"))
	if !ok {
		return c, false
	}
	if name.Kind() != value.String {
		f.fail(join(op.path, "field"), fmt.Errorf("the field must be text, not the %s", name.Kind()))
		return c, false
	}
	c.Field = name.Str()
	if tag, isTag := tagName(c.Field); isTag && c.ref == nil {
		c.ref = &ref{name: c.Field, slot: -1, special: specialTag, tag: value.NewKey(tag)}
	}
	if !op.hasValue {
		return c, true
	}
	path := join(op.path, "value")
	if c.Value, ok = op.value.value(f, path); !ok {
		return c, false
	}
	if c.Value.IsUndefined() {
		f.fail(path, fmt.Errorf("the value for %s does not exist", c.Field))
		return c, false
	}
	return c, true
}

func emittedOperation(op *operation, c Change) Value {
	var fields []value.Field
	if op.kind != "append" {
		fields = append(fields, value.Field{Key: "operation", Value: value.FromString(c.Operation)})
	}
	fields = append(fields, value.Field{Key: "field", Value: value.FromString(c.Field)})
	if op.hasValue {
		fields = append(fields, value.Field{Key: "value", Value: c.Value})
	}
	if !op.rawCond.IsNothing() {
		fields = append(fields, value.Field{Key: "condition", Value: op.rawCond})
	}
	return value.FromFields(fields)
}

// Assigned is the changes that one assignment wants.
type Assigned struct {
	ID      string // of the assignment, for the report
	Changes *Changes
}

// Conflict is an operation that was not applied.
type Conflict struct {
	ID     string // the assignment that wanted it
	With   string // the assignment that had changed the field before; "" for none
	Field  string
	Effect string // the conflictEffect: audit, deny or disabled
	Reason string
}

// Apply makes the changes of several assignments to a document, in order. Where
// two want different values in one field the first wins, and the other's
// conflictEffect says what that means: with deny the caller refuses the request.
func Apply(r *Resource, assigned ...Assigned) (*Resource, []Conflict) {
	root := r.root
	var conflicts []Conflict
	taken := map[string]claim{}
	for _, a := range assigned {
		for i := range a.Changes.Operations {
			c := &a.Changes.Operations[i]
			conflict := Conflict{ID: a.ID, Field: c.Field, Effect: a.Changes.ConflictEffect}
			key := value.LowerASCII(c.Field)
			if before, ok := taken[key]; ok && before.id != a.ID && !before.agrees(c) {
				conflict.With, conflict.Reason = before.id, "another assignment sets the field to another value"
				conflicts = append(conflicts, conflict)
				continue
			}
			changed, reason := c.apply(root, r)
			if reason != "" {
				conflict.Reason = reason
				conflicts = append(conflicts, conflict)
				continue
			}
			root, taken[key] = changed, claim{a.ID, c}
		}
	}
	out := NewResource(root.AsResource(), r.apiVersion)
	out.facts = r.facts // not yet evaluated, so its serial number is still unused
	return out, conflicts
}

// claim is what was done to a field by whom.
type claim struct {
	id     string
	change *Change
}

// agrees says that doing c as well changes nothing, or adds to an array.
func (b claim) agrees(c *Change) bool {
	if strings.HasSuffix(c.Field, "[*]") && c.Operation != "remove" && b.change.Operation != "remove" {
		return true
	}
	return (c.Operation == "remove") == (b.change.Operation == "remove") && value.Equal(b.change.Value, c.Value)
}

// apply returns the changed document, or the reason why it cannot be changed.
func (c *Change) apply(root Value, r *Resource) (Value, string) {
	groups, reason := c.target(r)
	if reason != "" {
		return root, reason
	}
	e := editor{change: c, groups: groups}
	changed := e.edit(root, 0, 0)
	return changed, e.conflict
}

// target is the path that the change writes to in a document of r's type.
func (c *Change) target(r *Resource) (path, string) {
	switch {
	case c.ref == nil:
		return nil, "the alias is not known, so the path to write is not known"
	case c.ref.special == specialTag:
		return path{{{Key: keyTags, Index: -1}, {Key: c.ref.tag, Index: -1}}}, ""
	case c.ref.special != bySpecialNone:
		return nil, "the field " + c.Field + " cannot be changed"
	}
	if p := c.ref.pathFor(r); p != nil {
		return p.path, ""
	}
	return nil, "the alias does not belong to " + r.typ
}

// editor makes one change along a path.
type editor struct {
	change   *Change
	groups   path
	conflict string
}

// edit returns v changed at the path from group g, segment s on; v itself where
// there is nothing to change.
func (e *editor) edit(v Value, g, s int) Value {
	if s < len(e.groups[g]) {
		return e.member(v, g, s)
	}
	if g == len(e.groups)-1 {
		return v
	}
	if g == len(e.groups)-2 && len(e.groups[g+1]) == 0 {
		return e.elements(v)
	}
	if v.Kind() != value.Array {
		return v
	}
	elems := make([]Value, v.Len())
	for i, elem := range v.Elems() {
		elems[i] = e.edit(elem, g+1, 0)
	}
	return value.FromSlice(elems)
}

func (e *editor) member(v Value, g, s int) Value {
	segment := &e.groups[g][s]
	last := g == len(e.groups)-1 && s == len(e.groups[g])-1
	if segment.Index >= 0 {
		if v.Kind() != value.Array || segment.Index >= v.Len() || last {
			return v
		}
		elems := append([]Value(nil), v.Elems()...)
		elems[segment.Index] = e.edit(elems[segment.Index], g, s+1)
		return value.FromSlice(elems)
	}
	if !v.IsNothing() && v.Kind() != value.Object {
		e.conflict = "the document has something other than an object on the way to " + e.change.Field
		return v
	}
	have := v.Find(segment.Key)
	if last {
		return e.leaf(v, segment.Key.Name, have)
	}
	if have.IsNothing() && e.change.Operation == "remove" {
		return v
	}
	changed := e.edit(have, g, s+1)
	if changed.IsUndefined() {
		return v
	}
	return v.AsResource().With(segment.Key.Name, changed)
}

// leaf changes the member that the field names.
func (e *editor) leaf(v Value, key string, have Value) Value {
	c := e.change
	switch {
	case c.Operation == "remove":
		return v.AsResource().Without(key)
	case c.Operation == "addOrReplace" || have.IsNothing():
		return v.AsResource().With(key, c.Value)
	case c.Operation == "append" && !value.Equal(have, c.Value):
		e.conflict = "append cannot replace the value that is there"
	}
	return v
}

// elements changes an array as such: a field that ends with [*].
func (e *editor) elements(v Value) Value {
	c := e.change
	switch {
	case c.Operation == "remove" && v.Kind() == value.Array:
		return value.FromSlice(nil)
	case c.Operation == "remove":
		return v
	case !v.IsNothing() && v.Kind() != value.Array:
		e.conflict = "the document has something other than an array at " + c.Field
		return v
	}
	added := []Value{c.Value}
	if c.Value.Kind() == value.Array {
		added = c.Value.Elems()
	}
	elems := append([]Value(nil), v.Elems()...)
	for _, a := range added {
		if !value.In(a, value.FromSlice(elems)) {
			elems = append(elems, a)
		}
	}
	return value.FromSlice(elems)
}
