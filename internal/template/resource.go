package template

import (
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
)

// TypeDeployment is the type of nested deployments.
const TypeDeployment arm.Type = "Microsoft.Resources/deployments"

// maxNesting is how deep deployments may be nested in one template.
const maxNesting = 5

// maxExpanded is about how many resources are expanded with all nested deployments.
const maxExpanded = 10 * MaxResources

// expandResources makes the resources of a node: an array, or an object of symbolic
// names.
func (p *Plan) expandResources(node Value, path string) {
	p.declare(node, path, nil, p.loops)
	if len(p.Resources) > MaxResources {
		p.scope.add(node, path, "the template has more than %d resources", MaxResources)
		p.Resources = nil
		return
	}
	p.scope.left.resources += len(p.Resources)
	p.names = p.index()
	p.scope.resources, p.scope.plan = p.names.find, p
	for _, r := range p.Resources {
		r.frame.scope = p.scope
		f := *r.frame
		r.Body = f.body(r)
		r.Open = f.open
		p.nest(r)
	}
	p.checkUnique()
	p.link()
	p.checkCircles()
}

func (p *Plan) declare(node Value, path string, parent *Resource, loops []loop) {
	for i := range node.Len() {
		at, symbol := element(path, i), ""
		if node.Kind() == value.Object {
			symbol = node.Key(i)
			at = join(path, symbol)
		}
		p.declareOne(node.At(i), at, symbol, parent, loops)
	}
}

// declareOne makes the rounds of one declared resource.
func (p *Plan) declareOne(node Value, path, symbol string, parent *Resource, loops []loop) {
	s := p.scope
	if node.Kind() != value.Object {
		s.add(node, path, "a resource must be an object, not the %s", node.Kind())
		return
	}
	l := get(node, "copy")
	if l.IsNothing() {
		p.round(node, path, symbol, parent, loops)
		return
	}
	name := get(l, "name").Str()
	if l.Kind() != value.Object || name == "" {
		s.add(l, join(path, "copy"), "a copy loop needs a name and a count")
		return
	}
	f := &frame{scope: s, loops: loops}
	n, open, ok := f.count(l, join(path, "copy"))
	if !ok || len(p.Resources)+n > MaxResources {
		if ok {
			s.add(l, join(path, "copy"), "the template has more than %d resources", MaxResources)
		}
		return
	}
	batch := 0
	if strings.EqualFold(get(l, "mode").Str(), "serial") {
		batch = max(1, int(get(l, "batchSize").Int64()))
	}
	var rounds []*Resource
	for i := range n {
		in := append(append([]loop(nil), loops...), loop{name: name, index: i, resource: true, open: open})
		r := p.round(node, path, symbol, parent, in)
		if r == nil {
			continue
		}
		r.Loop, r.round = name, i
		if batch > 0 && i >= batch {
			from := (i/batch - 1) * batch
			r.after = append(r.after, rounds[min(from, len(rounds)):min(from+batch, len(rounds))]...)
		}
		rounds = append(rounds, r)
	}
}

// round is one resource, and the children that are declared in it.
func (p *Plan) round(node Value, path, symbol string, parent *Resource, loops []loop) *Resource {
	s := p.scope
	r := &Resource{Path: path, Symbol: symbol, node: node, parent: parent, deployed: p.Scope}
	r.frame = &frame{scope: s, loops: loops}
	r.Line, r.Column = value.Position(s.text, node.Pos())
	before := len(s.problems)
	r.Type, r.Name = arm.Type(r.text("type", true)), r.text("name", true)
	r.Existing = get(node, "existing").IsTrue()
	r.APIVersion = r.text("apiVersion", !r.Existing)
	r.condition(parent)
	if len(s.problems) > before {
		return nil
	}
	r.within(parent)
	r.identify()
	if len(s.problems) > before {
		return nil
	}
	r.readDepends()
	p.Resources = append(p.Resources, r)
	if children := get(node, "resources"); !children.IsNothing() {
		p.declare(children, join(path, "resources"), r, loops)
	}
	return r
}

// text is a member that must be known before anything runs.
func (r *Resource) text(key string, required bool) string {
	s := r.frame.scope
	v := get(r.node, key)
	if v.IsNothing() {
		if required {
			s.add(r.node, join(r.Path, key), "the resource has no %s", key)
		}
		return ""
	}
	f := *r.frame
	f.open = false
	out := f.tree(v, join(r.Path, key))
	if f.open && !s.ctx.Partial {
		s.add(v, join(r.Path, key), "the %s must be known before the deployment starts: reference() and list functions cannot be used in it", key)
	}
	if out.Kind() != value.String || out.Str() == "" && required {
		s.add(v, join(r.Path, key), "the %s of the resource must be text, not the %s", key, out.Kind())
		return ""
	}
	r.frame.open = r.frame.open || f.open
	return out.Str()
}

func (r *Resource) condition(parent *Resource) {
	if parent != nil {
		r.Skipped, r.Conditional = parent.Skipped, parent.Conditional
	}
	c := get(r.node, "condition")
	if c.IsNothing() {
		return
	}
	s := r.frame.scope
	f := *r.frame
	f.open = false
	before := len(s.problems)
	v := f.tree(c, join(r.Path, "condition"))
	switch {
	case f.open && s.ctx.Partial:
		r.Conditional = true
	case f.open:
		s.add(c, join(r.Path, "condition"), "the condition must be known before the deployment starts: reference() and list functions cannot be used in it")
	case v.Kind() == value.Bool:
		r.Skipped = r.Skipped || !v.IsTrue()
	case v.Kind() == value.String && (strings.EqualFold(v.Str(), "true") || strings.EqualFold(v.Str(), "false")):
		r.Skipped = r.Skipped || strings.EqualFold(v.Str(), "false")
	case len(s.problems) == before:
		s.add(c, join(r.Path, "condition"), "the condition must be true or false, not the %s", v.Kind())
	}
}

// within completes type and name of a resource that is declared in another.
func (r *Resource) within(parent *Resource) {
	if parent == nil {
		return
	}
	if !strings.HasPrefix(strings.ToLower(string(r.Type)), parent.Type.Key()+"/") {
		r.Type = parent.Type + "/" + r.Type
	}
	if strings.Count(r.Name, "/") < strings.Count(string(r.Type), "/")-1 {
		r.Name = parent.Name + "/" + r.Name
	}
}

// identify finds the id.
func (r *Resource) identify() {
	s := r.frame.scope
	if r.frame.open { // type or name are not known: a partial expansion
		r.frame.open = false
		return
	}
	base, ok := r.findBase()
	if !ok {
		return
	}
	id, err := idIn(base, string(r.Type), r.Name)
	if err != nil {
		s.add(r.node, r.Path, "%v", message(err))
		return
	}
	r.ID, r.base = id, base
	if strings.Contains(strings.ToLower(string(r.Type)), "/providers/") {
		r.Type = id.Type() // an extension, named in the old way
	}
}

// findBase is the scope that the resource hangs on.
func (r *Resource) findBase() (arm.ID, bool) {
	s := r.frame.scope
	base := r.deployed
	if r.parent != nil {
		base = r.parent.base
	}
	sub, group := r.text("subscriptionId", false), r.text("resourceGroup", false)
	at := r.text("scope", false)
	if r.frame.open {
		r.frame.open = false
		return base, false
	}
	if sub == "" {
		sub = base.Subscription()
	}
	switch {
	case group != "":
		base = arm.ResourceGroupID(sub, group)
	case sub != "" && !strings.EqualFold(sub, base.Subscription()):
		base = arm.SubscriptionID(sub)
	}
	if base.IsRoot() {
		return base, at == "/" // the scope is not known
	}
	if at == "" {
		return base, true
	}
	id, ok := scopeNamed(base, at)
	if !ok {
		s.add(get(r.node, "scope"), join(r.Path, "scope"), "the scope '%s' is neither an id nor a type with names", clip(at))
	}
	return id, ok
}

// scopeNamed reads what "scope" names: "/", an id, or "Type/name" in the base.
func scopeNamed(base arm.ID, at string) (arm.ID, bool) {
	if at == "/" {
		return arm.Tenant, true
	}
	if strings.HasPrefix(at, "/") {
		id, err := arm.ParseID(at)
		return id, err == nil
	}
	if strings.HasPrefix(strings.ToLower(at), "microsoft.management/managementgroups/") {
		id, err := arm.ParseID("/providers/" + at)
		return id, err == nil
	}
	for _, reading := range splitRelative(at) {
		if id, err := idIn(base, reading[0], reading[1]); err == nil {
			return id, true
		}
	}
	return base, false
}

// message is an ARM error's text without its code.
func message(err error) string {
	if e := (*arm.Error)(nil); asARM(err, &e) {
		return e.Message
	}
	return err.Error()
}

func (r *Resource) readDepends() {
	d := get(r.node, "dependsOn")
	s := r.frame.scope
	f := *r.frame
	f.open = false
	path := join(r.Path, "dependsOn")
	v := f.tree(d, path)
	switch {
	case d.IsNothing():
	case v.Kind() != value.Array:
		if !f.open {
			s.add(d, path, "dependsOn must be an array, not the %s", v.Kind())
		}
	default:
		for i, e := range v.Elems() {
			switch {
			case e.IsNothing():
			case e.Kind() != value.String:
				s.add(d, element(path, i), "an element of dependsOn must be text, not the %s", e.Kind())
			default:
				r.depends = append(r.depends, e)
			}
		}
	}
	r.depPath = path
}

// notSent are members that are instructions to the deployment, not parts of the body.
var notSent = map[string]bool{"apiversion": true, "condition": true, "copy": true, "dependson": true, "scope": true, "resources": true,
	"resourcegroup": true, "subscriptionid": true, "comments": true, "name": true, "type": true, "existing": true, "metadata": true,
	"import": true, "extension": true, "asserts": true, "@options": true}

// body evaluates what is sent. ARM leaves out members of the resource itself that are
// null, and passes on those inside properties.
func (f *frame) body(r *Resource) Value {
	var fields []value.Field
	for i := range r.node.Len() {
		key, v := r.node.Key(i), r.node.At(i)
		if notSent[value.LowerASCII(key)] {
			continue
		}
		path := join(r.Path, key)
		if value.EqualASCII(key, "properties") && r.Type.Equal(TypeDeployment) {
			v = f.nestedProperties(v, path)
		} else {
			v = f.tree(v, path)
		}
		if v.Kind() != value.Null {
			fields = append(fields, value.Field{Key: key, Value: v})
		}
	}
	return value.FromFields(fields)
}
