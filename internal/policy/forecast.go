package policy

// Forecast evaluates a rule over documents that are not known completely. It is
// immutable and safe for concurrent use.
type Forecast struct {
	program *Program
	plan    *plan
}

// NewForecast prepares a program.
func NewForecast(p *Program) *Forecast {
	c := newCompiler(p.def, p.options, false)
	c.track = true
	return &Forecast{program: p, plan: c.plan()}
}

// Doubt is something that decides and cannot be told.
type Doubt struct {
	Field   string `json:"field"`             // a field as the rule names it, or a function: resourceGroup()
	Address string `json:"address,omitempty"` // where the field stands in the document
	Path    string `json:"path,omitempty"`    // of the condition in the definition
}

// Outlook is what can be said of a document. With Doubts the verdict says
// nothing: it depends on them. Without, the verdict is that of Evaluate, whatever
// the unknown values turn out to be.
type Outlook struct {
	Verdict
	Doubts      []Doubt
	Explanation *Explanation
	// Lacks is the type of the related resource that an existence check looked for
	// and found none of at all; "" otherwise.
	Lacks string
}

// chance is an outcome, or that there is none yet.
type chance uint8

const (
	never chance = chance(no)
	sure  chance = chance(yes)
	fails chance = chance(failed)
	open  chance = 3
)

// Evaluate says what the rule comes to. The logic is three-valued: a part that
// cannot be told matters only if the others do not decide.
func (fc *Forecast) Evaluate(in Input) Outlook {
	p := fc.program
	if reason := p.excludes(in.Resource); reason != "" {
		return Outlook{Verdict: Verdict{State: NotApplicable, Reason: reason}}
	}
	f := newFrame(max(fc.plan.slots, p.plan.slots), &in)
	f.remember(p.plan.fields, p.plan.groups)
	defer f.release()
	tree, held, doubts := f.weigh(fc.plan.rule)
	o := Outlook{Explanation: tree}
	switch held {
	case open:
		o.Doubts = doubts
		if p.disabled {
			o = Outlook{Explanation: tree, Verdict: Verdict{State: None, Reason: "the effect is disabled"}}
		}
	case sure:
		fc.applied(f, &in, &o)
	}
	if f.problem != nil && len(o.Doubts) == 0 {
		o.Verdict = Verdict{State: Failed, Problem: p.positioned(f.problem)}
	}
	o.Diagnostics = f.notes
	return o
}

// applied is the effect of a rule that holds.
func (fc *Forecast) applied(f *frame, in *Input, o *Outlook) {
	p := fc.program
	name, ok := p.plan.effect.value(f, p.plan.effectPath)
	if !ok {
		return
	}
	o.Verdict = Verdict{State: Hit, Effect: name.Str(), Family: EffectNamed(name.Str())}
	switch o.Family {
	case Disabled:
		o.Verdict = Verdict{State: None, Reason: "the effect is disabled"}
	case AuditIfNotExists, DeployIfNotExists:
		fc.existence(f, in, o)
	case Append, Modify:
		// What it would write may be unknown; that it writes is not.
		if f.details(p, &o.Verdict, in); f.problem != nil {
			o.Verdict, f.problem = Verdict{State: Hit, Effect: name.Str(), Family: o.Family}, nil
		}
	}
}

// existence looks at the related resources that are known.
func (fc *Forecast) existence(f *frame, in *Input, o *Outlook) {
	p := fc.program
	q, ok := f.query(p, in.Resource)
	if !ok {
		f.problem = nil
		o.Doubts = []Doubt{{Field: "what to look for", Path: p.def.detailsPath()}}
		return
	}
	var found []*Resource
	if in.Related != nil {
		var err error
		if found, err = in.Related.FindRelated(q); err != nil {
			f.fail(p.def.detailsPath(), err)
			return
		}
	}
	if len(found) == 0 {
		o.Lacks = q.Type
		return
	}
	defer func() { f.doc = f.primary }()
	for _, r := range found {
		f.doc = r
		tree, held, doubts := (*Explanation)(nil), sure, []Doubt(nil)
		if fc.plan.existence != nil {
			tree, held, doubts = f.weigh(fc.plan.existence)
		}
		o.Explanation.Children = append(o.Explanation.Children, existenceNode(p, r, tree, held))
		switch held {
		case sure:
			o.Verdict, o.Doubts = Verdict{State: None, Reason: existsReason(q.Type)}, nil
			return
		case open:
			o.Doubts = append(o.Doubts, doubts...)
		}
	}
}

func existenceNode(p *Program, r *Resource, tree *Explanation, held chance) *Explanation {
	node := &Explanation{Path: p.def.detailsPath() + ".existenceCondition", Kind: "existence", Subject: r.ID(), Held: held == sure, Unknown: held == open}
	if tree != nil {
		node.Children = []*Explanation{tree}
	}
	return node
}

// weigh evaluates a test, and says what is in doubt where it is open.
func (f *frame) weigh(t test) (*Explanation, chance, []Doubt) {
	switch t := t.(type) {
	case *junction:
		return f.weighJunction(t)
	case *negation:
		child, held, doubts := f.weigh(t.part)
		if held == never || held == sure {
			held = sure - held
		}
		e := weighed(t.from, held)
		e.Children = []*Explanation{child}
		return e, held, doubts
	case *watched:
		if doubts := t.doubts(f); len(doubts) > 0 {
			e := skipped(t.from)
			e.Skipped, e.Unknown = false, true
			return e, open, doubts
		}
		e, o := t.explain(f)
		if count, ok := t.test.(*countTest); ok && count.ref != nil {
			e.Address = count.ref.address(f)
		}
		return e, chance(o), nil
	}
	e, o := t.explain(f)
	return e, chance(o), nil
}

func (f *frame) weighJunction(t *junction) (*Explanation, chance, []Doubt) {
	decisive := chance(t.decisive)
	result, done := sure-decisive, false
	var all []Doubt
	var children []*Explanation
	for i, part := range t.parts {
		if done {
			children = append(children, skipped(t.from.Children[i]))
			continue
		}
		child, held, doubts := f.weigh(part)
		children = append(children, child)
		switch {
		case held == decisive:
			result, all, done = held, nil, true
		case held == open:
			result, all = open, append(all, doubts...)
		case held == fails:
			// Only if nothing before it decides will this be reached.
			if done = true; result != open {
				result = fails
			}
		}
	}
	e := weighed(t.from, result)
	e.Children = children
	return e, result, all
}

func weighed(from *Constraint, held chance) *Explanation {
	e := explained(from, no)
	e.Held, e.Failed, e.Unknown = held == sure, held == fails, held == open
	return e
}
