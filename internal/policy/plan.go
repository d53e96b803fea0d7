package policy

import (
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// test compiles a constraint. After a problem it returns something harmless.
func (c *compiler) test(from *Constraint) test {
	switch from.Kind {
	case AllOf:
		return c.junction(from, no)
	case AnyOf:
		return c.junction(from, yes)
	case Not:
		return c.negation(from)
	case FieldCondition:
		return c.watch(from, c.fieldCondition)
	case ValueCondition:
		return c.watch(from, c.valueCondition)
	}
	return c.watch(from, c.countCondition)
}

// junction compiles allOf or anyOf. Parts that constants decide go: a decisive
// one takes the whole with it.
func (c *compiler) junction(from *Constraint, decisive outcome) test {
	j := &junction{from: from, decisive: decisive}
	decided := false
	for _, child := range from.Children {
		part := c.test(child)
		f, isFixed := part.(fixed)
		switch {
		case !isFixed || !c.fold:
			j.parts = append(j.parts, part)
		case outcomeOf(f.held) == decisive:
			// What stands before could still fail; the decisive part ends the list.
			if !decided {
				j.parts = append(j.parts, part)
			}
			decided = true
		}
		if decided {
			// compile the rest for its problems only
			for _, rest := range from.Children[slices.Index(from.Children, child)+1:] {
				c.test(rest)
			}
			break
		}
	}
	if c.fold {
		j.parts = fuse(flatten(j.parts, decisive), decisive)
		for i := range j.parts {
			j.parts[i] = c.share(j.parts[i])
		}
	}
	switch {
	case !c.fold:
		return j
	case len(j.parts) == 0:
		return fixed{decisive == no}
	case len(j.parts) == 1:
		return j.parts[0]
	case decided && !slices.ContainsFunc(j.parts[:len(j.parts)-1], canFail):
		return j.parts[len(j.parts)-1]
	}
	return j
}

// canFail says that evaluating may end in an error, which must not be folded away.
func canFail(t test) bool {
	switch t := t.(type) {
	case fixed, *shared:
		return false
	case *typeTest:
		return false
	case *fieldTest:
		return t.with.operand.code != nil
	}
	return true
}

// flatten puts the parts of a nested junction of the same kind in its place.
func flatten(parts []test, decisive outcome) []test {
	var flat []test
	for _, part := range parts {
		if inner, ok := part.(*junction); ok && inner.decisive == decisive {
			flat = append(flat, inner.parts...)
			continue
		}
		flat = append(flat, part)
	}
	return flat
}

// fuse makes one look-up of neighbours that compare one field with constant
// texts: equals in an anyOf, notEquals in an allOf.
func fuse(parts []test, decisive outcome) []test {
	var fused []test
	for i := 0; i < len(parts); {
		n := 1
		first, ok := parts[i].(*fieldTest)
		if ok && fusible(first, decisive) {
			for i+n < len(parts) {
				next, ok := parts[i+n].(*fieldTest)
				if !ok || !fusible(next, decisive) || !first.ref.sameAs(next.ref) {
					break
				}
				n++
			}
		}
		if n < 4 {
			fused = append(fused, parts[i])
			i++
			continue
		}
		fused = append(fused, anyEqual(parts[i:i+n], decisive))
		i += n
	}
	return fused
}

func fusible(t *fieldTest, decisive outcome) bool {
	return t.with.kind == byText && t.with.negated == (decisive == no)
}

// sameAs says that two refs were made from the same name in the same place.
func (r *ref) sameAs(other *ref) bool {
	return r == other || r.slot == other.slot && r.primary == other.primary && value.EqualASCII(r.name, other.name)
}

func anyEqual(parts []test, decisive outcome) test {
	first := parts[0].(*fieldTest)
	texts := make([]Value, len(parts))
	for i, part := range parts {
		texts[i] = value.FromString(part.(*fieldTest).with.text)
	}
	list := value.FromSlice(texts)
	with := &comparison{kind: byAnyText, negated: decisive == no, operator: first.with.operator, set: value.NewSet(list), operand: constantOperand(list), path: first.with.path}
	return &fieldTest{from: first.from, ref: first.ref, with: with}
}

func (c *compiler) negation(from *Constraint) test {
	part := c.test(from.Children[0])
	if f, ok := part.(fixed); ok && c.fold {
		return fixed{!f.held}
	}
	return &negation{from: from, part: c.share(part)}
}

func (c *compiler) comparison(from *Constraint) *comparison {
	return newComparison(from.Operator, c.operand(from.Operand, from.operandPath), from.operandPath)
}

func (c *compiler) fieldCondition(from *Constraint) test {
	choice := c.fieldNames(from.Field, from.leftPath, from.leftPos)
	with := c.comparison(from)
	switch {
	case choice == nil:
		return fixed{}
	case choice.ref == nil:
		return &choiceTest{from: from, choice: choice, with: with}
	case choice.other == nil:
		return refTest(from, choice.ref, with)
	}
	return &choiceTest{from: from, choice: choice, with: with, one: refTest(from, choice.ref, with), other: refTest(from, choice.other, with)}
}

func refTest(from *Constraint, r *ref, with *comparison) test {
	switch {
	case r.stars > 0:
		return &wildTest{from: from, ref: r, with: with}
	case r.special == specialType && with.kind == byText && isASCII(with.text):
		return &typeTest{fieldTest: fieldTest{from: from, ref: r, with: with}, key: newTypeKey(with.text)}
	}
	return &fieldTest{from: from, ref: r, with: with}
}

func (c *compiler) valueCondition(from *Constraint) test {
	t := &valueTest{from: from, left: c.operand(from.Value, from.leftPath), with: c.comparison(from)}
	if c.fold && t.left.code == nil && t.with.operand.code == nil {
		return fixed{t.eval(&frame{}) == yes}
	}
	return t
}

func (c *compiler) countCondition(from *Constraint) test {
	count := from.Count
	t := &countTest{from: from, most: -1}
	var scopes []scope
	if count.Value.IsUndefined() {
		scopes = c.fieldCount(t, count)
	} else {
		t.left = c.operand(count.Value, join(count.path, "value"))
		t.slot = c.newSlots(1)
		scopes = []scope{{name: count.Name, slot: t.slot}}
	}
	if count.Where != nil {
		outer := len(c.scopes)
		c.scopes = append(c.scopes, scopes...)
		t.where = c.test(count.Where)
		c.scopes = c.scopes[:outer]
	}
	t.with = c.comparison(from)
	t.most = decidedAbove(from.Operator, t.with.operand)
	return t
}

func (c *compiler) newSlots(n int) int {
	c.slots += n
	return c.slots - n
}

// fieldCount resolves the counted field and returns a scope for each [*] in it
// that is not already an element of an outer count.
func (c *compiler) fieldCount(t *countTest, count *Count) []scope {
	c.at, c.atPos = join(count.path, "field"), count.pos
	if expr.IsExpression(count.Field) || !strings.Contains(count.Field, "[*]") {
		c.add(InvalidRule, c.at, c.atPos, "count needs a field with [*], not %s", count.Field)
		return nil
	}
	r, err := c.conditionField(count.Field)
	if err != nil {
		c.expressionProblem(err)
		return nil
	}
	if c.track {
		c.depends[len(c.depends)-1].counted = true
	}
	if r.stars == 0 {
		c.add(InvalidRule, c.at, c.atPos, "%s is an element of the count around it, not an array", count.Field)
		return nil
	}
	t.ref, t.slot = r, c.newSlots(r.stars)
	var scopes []scope
	lower := value.LowerASCII(count.Field)
	total := strings.Count(lower, "[*]")
	for i := range min(r.stars, total) {
		level := total - r.stars + i + 1
		scopes = append(scopes, scope{prefix: prefixTo(lower, level), ref: r, level: level, slot: t.slot + i})
	}
	return scopes
}

// prefixTo returns a field up to and with its n-th [*].
func prefixTo(field string, n int) string {
	end := 0
	for range n {
		end += strings.Index(field[end:], "[*]") + len("[*]")
	}
	return field[:end]
}

// decidedAbove returns a number n such that every count above n gives the same
// answer, so that counting may stop there; -1 when there is none.
func decidedAbove(op Operator, r operand) int {
	if r.code != nil || r.constant.Kind() != value.Int || r.constant.Int64() < 0 || r.constant.Int64() > 1<<30 {
		return -1
	}
	if op <= LessOrEquals {
		return int(r.constant.Int64())
	}
	return -1
}

// onlyTypes derives the resource types that a rule can hold for from the type
// conditions that its allOf must meet.
func onlyTypes(t test) []string {
	switch t := t.(type) {
	case *junction:
		if t.decisive == yes {
			return unionOfTypes(t.parts)
		}
		for _, part := range t.parts {
			if types := onlyTypes(part); types != nil {
				return types
			}
		}
	case *shared:
		return onlyTypes(t.part)
	case *typeTest:
		return onlyTypes(&t.fieldTest)
	case *fieldTest:
		if t.ref.special == specialType && t.ref.slot < 0 && t.with.operand.code == nil {
			return namedTypes(t.with)
		}
	case fixed:
		if !t.held {
			return []string{}
		}
	}
	return nil
}

// unionOfTypes is the types of an anyOf, if every part names some.
func unionOfTypes(parts []test) []string {
	types := []string{}
	for _, part := range parts {
		more := onlyTypes(part)
		if more == nil {
			return nil
		}
		types = append(types, more...)
	}
	return types
}

func namedTypes(with *comparison) []string {
	r := with.operand.constant
	if with.kind == byAnyText && !with.negated {
		with = &comparison{operator: In}
	}
	switch {
	case with.operator == Equals && r.Kind() == value.String && r.Str() != "":
		return []string{value.LowerASCII(r.Str())}
	case with.operator == In && r.Kind() == value.Array:
		types := []string{}
		for _, e := range r.Elems() {
			if e.Kind() != value.String || e.Str() == "" {
				return nil
			}
			types = append(types, value.LowerASCII(e.Str()))
		}
		return types
	}
	return nil
}
