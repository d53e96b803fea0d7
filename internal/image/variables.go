package image

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A reference is ${{ var.NAME }}: neither a shell nor systemd gives that a
// meaning, so it cannot be confused with ${NAME} or $(command). $${{ stands
// for a literal ${{.
var referencePattern = regexp.MustCompile(`\$?\$\{\{\s*([^{}]*?)\s*\}\}`)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// substitute replaces references in every scalar of the tree except in the
// declarations themselves, and reports what cannot be replaced.
func (d *decoder) substitute(root *node, given map[string]string) {
	values := d.variableValues(root, given)
	for _, f := range root.fields {
		if f.key != "variables" {
			d.substituteIn(f.value, f.key, values)
		}
	}
}

func (d *decoder) substituteIn(n *node, path string, values map[string]string) {
	for i, item := range n.items {
		d.substituteIn(item, path+"["+itoa(i)+"]", values)
	}
	for _, f := range n.fields {
		d.substituteIn(f.value, join(path, f.key), values)
	}
	if n.kind != kindString || !strings.Contains(n.text, "${{") {
		return
	}
	n.text = referencePattern.ReplaceAllStringFunc(n.text, func(match string) string {
		if strings.HasPrefix(match, "$$") {
			return match[1:]
		}
		n.replaced = true
		return d.lookup(n, path, referencePattern.FindStringSubmatch(match)[1], values)
	})
}

func (d *decoder) lookup(n *node, path, expression string, values map[string]string) string {
	name, ok := strings.CutPrefix(expression, "var.")
	if !ok {
		d.report(n.pos, path, "${{ "+expression+" }} is not a reference to a variable", "write ${{ var.NAME }}, or $${{ for a literal ${{")
		return ""
	}
	value, ok := values[name]
	if !ok {
		d.report(n.pos, path, "variable "+name+" is not declared", suggest(name, slices.Sorted(maps.Keys(values))))
	}
	return value
}

// variableValues are the declared defaults overlaid with what was given.
func (d *decoder) variableValues(root *node, given map[string]string) map[string]string {
	declared := map[string]Variable{}
	if n := root.field("variables"); n != nil {
		scratch := newDecoder(d.file) // the real decoding reports the mistakes
		scratch.value(n, "variables", reflect.ValueOf(&declared).Elem())
	}
	values := map[string]string{}
	for name, v := range declared {
		path := join("variables", name)
		d.places[path] = placeOfField(root.field("variables"), name)
		value, ok := given[name]
		switch {
		case !variableName.MatchString(name):
			d.fail(path, "this cannot be a variable's name", "letters, digits and _, not beginning with a digit")
		case !ok && v.Default == nil:
			d.fail(path, "variable "+name+" has no default and no value was given", "pass --var "+name+"=VALUE")
		case !ok:
			value = *v.Default
		}
		if len(v.AllowedValues) > 0 && value != "" && !slices.Contains(v.AllowedValues, value) {
			d.fail(path, "the value "+quote(value)+" is not allowed", suggest(value, v.AllowedValues))
		}
		values[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := declared[name]; !ok {
			d.report(Position{}, "", "a value was given for variable "+name+", which the recipe does not declare", suggest(name, slices.Sorted(maps.Keys(values))))
		}
	}
	return values
}

func placeOfField(n *node, key string) Position {
	if n != nil {
		for _, f := range n.fields {
			if f.key == key {
				return f.pos
			}
		}
	}
	return Position{}
}
