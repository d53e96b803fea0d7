package policy

import (
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
)

// Unknown says which parts of a document cannot be told yet: a deployment's
// runtime expressions, what a plan knows only after it was applied.
type Unknown struct {
	// Paths are where the values stand, or would: properties.osProfile.computerName,
	// zones[0], tags['owner']; "" is the whole document but its type.
	Paths []string
	// Rest says that the document is only a part: what it lacks may exist.
	Rest bool
	// Facts says that Hallmark's read-only aliases cannot be told.
	Facts bool
}

// unknown is Unknown made ready.
type unknown struct {
	paths       [][]segment
	rest, facts bool
}

// WithUnknown returns the resource with the parts that a Forecast must not rely
// on. The document should have nothing at these paths. The error names paths that
// are broken.
func (r *Resource) WithUnknown(u Unknown) (*Resource, error) {
	ready := &unknown{rest: u.Rest, facts: u.Facts}
	var wrong report
	for _, text := range u.Paths {
		p, bad := parsePath(text)
		if bad != "" || p.stars() > 0 {
			wrong.add(InvalidAlias, text, 0, "this is no path of one value: %s", bad)
			continue
		}
		ready.paths = append(ready.paths, p[0])
	}
	with := *r
	with.unknown, with.serial = ready, lastSerial.Add(1)
	return &with, wrong.problems.err()
}

// dependency is something that a condition reads.
type dependency struct {
	ref     *ref
	counted bool   // only how many elements there are
	context string // a function that reads the context
	field   string // the ref's name as written
}

// depend notes what the condition that is being compiled reads.
func (c *compiler) depend(d dependency) {
	if c.track {
		if d.ref != nil {
			d.field = d.ref.name
		}
		c.depends = append(c.depends, d)
	}
}

// watched is a condition with everything that it reads.
type watched struct {
	test
	from  *Constraint
	reads []dependency
}

// watch compiles a condition and collects what it reads.
func (c *compiler) watch(from *Constraint, compile func(*Constraint) test) test {
	if !c.track {
		return compile(from)
	}
	start := len(c.depends)
	t := compile(from)
	return &watched{test: t, from: from, reads: append([]dependency(nil), c.depends[start:]...)}
}

// doubts are what the condition reads and cannot be told.
func (t *watched) doubts(f *frame) []Doubt {
	var all []Doubt
	for _, d := range t.reads {
		if doubt, ok := f.doubt(d); ok {
			doubt.Path = t.from.Path
			all = append(all, doubt)
		}
	}
	return all
}

func (f *frame) doubt(d dependency) (Doubt, bool) {
	if d.context != "" {
		known := !f.context.Find(value.NewKey(d.context)).IsUndefined() || value.EqualASCII(d.context, "requestContext") && f.primary.apiVersion != ""
		return Doubt{Field: d.context + "()"}, !known
	}
	doc := d.ref.document(f)
	if doc.unknown == nil {
		return Doubt{}, false
	}
	for _, p := range d.ref.places(doc) {
		if doc.unknown.covers(p, d.counted, &doc.root) {
			return Doubt{Field: d.field, Address: p.String()}, true
		}
		if !value.Walk(&doc.root, p[0]).IsUndefined() {
			break // the others are only read where there is nothing
		}
	}
	if d.ref.special == specialFact && doc.unknown.facts && d.ref.value(f).IsUndefined() {
		return Doubt{Field: d.field}, true
	}
	return Doubt{}, false
}

// places are the paths that a ref may read in a document.
func (r *ref) places(doc *Resource) []path {
	switch r.special {
	case specialTag:
		tag := newSegment(r.tag.Name)
		return []path{{{{Key: keyTags, Index: -1}, tag}}}
	case specialFullName:
		return []path{{{{Key: keyFullName, Index: -1}}}, {{{Key: keyID, Index: -1}}}}
	case bySpecialNone:
	default:
		return nil
	}
	var all []path
	if p := r.pathFor(doc); p != nil && len(p.path.steps()) > 0 {
		all = append(all, p.path)
	}
	for _, p := range []path{r.short.root, r.short.properties} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// step is a segment of a path, or a [*].
type step struct {
	segment
	star bool
}

func (p path) steps() []step {
	var all []step
	for i, group := range p {
		if i > 0 {
			all = append(all, step{star: true})
		}
		for _, s := range group {
			all = append(all, step{segment: s})
		}
	}
	return all
}

func (s step) meets(u segment) bool {
	if s.star || s.Index >= 0 || u.Index >= 0 {
		return (s.star || s.Index == u.Index) && u.Index >= 0
	}
	return value.EqualASCII(s.Key.Name, u.Key.Name)
}

// covers reports whether something unknown lies at a path, around it, or inside.
func (u *unknown) covers(p path, counted bool, root *Value) bool {
	steps := p.steps()
	if counted { // the array itself, not what is in its elements
		for len(steps) > 0 && steps[len(steps)-1].star {
			steps = steps[:len(steps)-1]
		}
	}
	for _, path := range u.paths {
		if overlap(steps, path) && (!counted || len(path) <= len(steps)) {
			return true
		}
	}
	return u.rest && !told(p, root)
}

func overlap(steps []step, path []segment) bool {
	for i := range min(len(steps), len(path)) {
		if !steps[i].meets(path[i]) {
			return false
		}
	}
	return true
}

// told reports whether a part of a document says what is at a path: an object may
// have more members than the part gives.
func told(p path, root *Value) bool {
	v := value.Walk(root, p[0])
	return !v.IsUndefined() && v.Kind() != value.Object
}

// String writes what is in doubt.
func (d Doubt) String() string {
	if d.Address == "" || strings.EqualFold(d.Address, d.Field) {
		return d.Field
	}
	return d.Field + " (at " + d.Address + ")"
}
