package template

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// Value is a JSON value.
type Value = value.Value

// Limits of one template, Azure's own.
const (
	MaxSize       = 4 << 20 // bytes
	MaxParameters = 256
	MaxVariables  = 256
	MaxResources  = 800 // copies included
	MaxOutputs    = 64
	maxCopies     = 800
)

// Template is a template that has been read. It is immutable and safe for
// concurrent use.
type Template struct {
	text       string
	root       Value
	parameters []*Parameter
	functions  map[string]*function // by "namespace.name" in lower case
	types      Value                // definitions of user-defined types
	symbolic   bool                 // languageVersion 2.0: resources have symbolic names

	programs *sync.Map // text of an expression → *program
}

// Parse reads a template. Every problem with its structure is reported at once,
// as Problems.
func Parse(text string) (*Template, error) {
	r := &report{text: text}
	if len(text) > MaxSize {
		r.addAt(0, "", "the template has %d bytes; at most %d are possible", len(text), MaxSize)
		return nil, r.err()
	}
	if !utf8.ValidString(text) {
		r.addAt(0, "", "the template is not valid UTF-8")
		return nil, r.err()
	}
	r.text = Clean(text)
	root, err := value.Parse(r.text)
	var syntax *value.SyntaxError
	if errors.As(err, &syntax) {
		r.addAt(syntax.Offset, "", "the template is not valid JSON: %s", syntax.Reason)
		return nil, r.err()
	}
	if err != nil {
		return nil, err
	}
	return parseNode(r, root, "", &sync.Map{})
}

// parseNode reads a template that is a part of a text.
func parseNode(r *report, root Value, path string, programs *sync.Map) (*Template, error) {
	t := &Template{text: r.text, root: root, functions: map[string]*function{}, programs: programs}
	if root.Kind() != value.Object {
		r.add(root, path, "a template is a JSON object, not the %s", root.Kind())
		return nil, r.err()
	}
	t.header(r, path)
	t.readParameters(r, path)
	t.readFunctions(r, path)
	if get(root, "variables").Len() > MaxVariables {
		r.add(get(root, "variables"), join(path, "variables"), "the template has more than %d variables", MaxVariables)
	}
	if get(root, "outputs").Len() > MaxOutputs {
		r.add(get(root, "outputs"), join(path, "outputs"), "the template has more than %d outputs", MaxOutputs)
	}
	return t, r.err()
}

// get is a member of an object whatever the case of its name.
func get(v Value, key string) Value { return v.Find(value.NewKey(key)) }

func (t *Template) header(r *report, path string) {
	for _, key := range []string{"$schema", "contentVersion"} {
		if v := get(t.root, key); v.Kind() != value.String || v.Str() == "" {
			r.add(t.root, join(path, key), "Required property '%s' not found in JSON", key)
		}
	}
	version := get(t.root, "languageVersion").Str()
	t.symbolic = strings.HasPrefix(version, "2.")
	if version != "" && version != "1.0" && version != "1.9" && !t.symbolic {
		r.add(get(t.root, "languageVersion"), join(path, "languageVersion"), "the language version '%s' is not known; there are 1.0 and 2.0", clip(version))
	}
	for key, kind := range map[string]value.Kind{"parameters": value.Object, "variables": value.Object, "outputs": value.Object, "functions": value.Array, "definitions": value.Object} {
		if v := get(t.root, key); !v.IsNothing() && v.Kind() != kind {
			r.add(v, join(path, key), "%s must be an %s, not the %s", key, kind, v.Kind())
		}
	}
	resources := get(t.root, "resources")
	switch kind := resources.Kind(); {
	case resources.IsUndefined():
		r.add(t.root, join(path, "resources"), "Required property 'resources' not found in JSON")
	case kind == value.Object: // symbolic names, whatever the version says
		t.symbolic = true
	case kind != value.Array:
		r.add(resources, join(path, "resources"), "resources must be an array or, with symbolic names, an object; not the %s", kind)
	}
	for _, key := range []string{"extensions", "imports"} {
		if v := get(t.root, key); v.Len() > 0 {
			r.add(v, join(path, key), "extensions of other control planes are not supported here")
		}
	}
	t.types = get(t.root, "definitions")
}

// Parameters are the declared parameters in order.
func (t *Template) Parameters() []*Parameter { return t.parameters }

// Text is the template as strict JSON, its lines kept.
func (t *Template) Text() string { return t.text }

// Root is the template as parsed.
func (t *Template) Root() Value { return t.root }

// program is a compiled expression.
type program struct {
	node expr.Node
	run  *expr.Program
	err  error
}

// program compiles an expression once.
func (t *Template) program(text string) *program {
	if p, ok := t.programs.Load(text); ok {
		return p.(*program)
	}
	p := &program{}
	if p.node, p.err = expr.Parse(text); p.err == nil {
		p.run, p.err = expr.Compile(text, p.node, expr.Deployment, nil)
	}
	t.programs.Store(text, p)
	return p
}

// function is a user-defined function.
type function struct {
	parameters []string // lower case
	output     Value
	path       string
}

// readFunctions reads "functions": [{namespace, members: {name: {parameters, output}}}].
func (t *Template) readFunctions(r *report, path string) {
	for i, ns := range get(t.root, "functions").Elems() {
		at := fmt.Sprintf("%s[%d]", join(path, "functions"), i)
		space, members := get(ns, "namespace").Str(), get(ns, "members")
		if space == "" || members.Kind() != value.Object {
			r.add(ns, at, "functions need a namespace and members")
			continue
		}
		for j := range members.Len() {
			name, body := members.Key(j), members.At(j)
			f := &function{output: get(get(body, "output"), "value"), path: join(at, "members."+name+".output.value")}
			for _, p := range get(body, "parameters").Elems() {
				f.parameters = append(f.parameters, value.LowerASCII(get(p, "name").Str()))
			}
			if f.output.IsUndefined() {
				r.add(body, join(at, "members."+name), "the function '%s.%s' has no output with a value", clip(space), clip(name))
				continue
			}
			t.functions[value.LowerASCII(space+"."+name)] = f
		}
	}
}
