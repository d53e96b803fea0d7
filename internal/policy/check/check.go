package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/explain"
)

// Check evaluates every policy that holds for a document. now is what utcNow()
// says, and when exemptions are over.
func (r *Rules) Check(in *Input, now time.Time) *Report {
	c := &checking{rules: r, in: in, now: now, report: &Report{Findings: []Finding{}, Notes: slices.Clone(in.Notes)}}
	for _, a := range r.set.Assignments {
		c.broken(a)
	}
	for _, d := range in.Documents {
		c.report.Summary.Resources++
		c.document(d)
		if len(d.Untranslated) > 0 {
			c.report.Notes = append(c.report.Notes, fmt.Sprintf("%s:%d: policies were not asked about these attributes of %s: %s", d.File, d.Line, d.Source, strings.Join(d.Untranslated, ", ")))
		}
	}
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Resource, b.Resource))
	})
	return c.report
}

// checking is one check in progress.
type checking struct {
	rules  *Rules
	in     *Input
	now    time.Time
	report *Report
}

func (c *checking) add(f Finding) {
	c.report.Summary.count(f.State)
	c.report.Findings = append(c.report.Findings, f)
}

// broken reports what of an assignment cannot be evaluated: it must not look as if
// everything complied with it.
func (c *checking) broken(a *assignment.Assignment) {
	if a.Problem != nil {
		c.add(Finding{State: Failed, Policy: a.Name, Definition: a.Definition.String(), Assignment: a.ID.String(), Enforced: a.Enforced,
			Message: "the assignment cannot be evaluated: " + a.Problem.Error()})
	}
	for _, u := range a.Units {
		if u.Problem != nil {
			f := c.finding(u, nil)
			f.State, f.Message = Failed, "the policy cannot be evaluated: "+u.Problem.Error()
			c.add(f)
		}
	}
}

// document evaluates what covers a document, or may: that can depend on what is not
// known of its place.
func (c *checking) document(d *Document) {
	var uncertain []policy.Doubt
	if d.Conditional {
		uncertain = []policy.Doubt{{Field: "the condition of the resource"}}
	}
	covered, reached := c.rules.set.At(d.ID), false
	for _, a := range c.rules.set.Assignments {
		doubts := slices.Clone(uncertain)
		if !slices.Contains(covered, a) {
			if !d.GroupUnknown || a.Scope.Kind() != arm.KindResourceGroup || a.Scope.Subscription() != d.ID.Subscription() {
				continue
			}
			doubts = append(doubts, policy.Doubt{Field: "resource group", Address: "id"})
		}
		reached = true
		for _, u := range a.Units {
			c.unit(d, u, doubts)
		}
	}
	if !reached {
		c.report.Notes = append(c.report.Notes, fmt.Sprintf("%s:%d: no assignment covers %s, which would be %s", d.File, d.Line, d.Source, d.ID))
	}
}

func (c *checking) unit(d *Document, u *assignment.Unit, doubts []policy.Doubt) {
	if u.Problem != nil {
		return
	}
	if !u.Looks(d.Type, d.Location) {
		if d.Location != "" || !hidden(d, "location") || !asksForLocation(u) {
			return
		}
		doubts = append(slices.Clone(doubts), policy.Doubt{Field: "location", Address: "location"})
	}
	p := u.Program(d.Type, d.Location)
	if p == nil {
		return
	}
	f := c.rules.forecasts[p]
	if f == nil {
		f = policy.NewForecast(p)
		c.rules.forecasts[p] = f
	}
	o := f.Evaluate(policy.Input{Resource: d.Resource, Context: c.context(d, u), Related: related{c, d}})
	c.judge(d, u, o, doubts)
}

func hidden(d *Document, path string) bool { return slices.Contains(d.Unknown.Paths, path) }

// asksForLocation reports whether selectors look at locations.
func asksForLocation(u *assignment.Unit) bool {
	asks := func(list []assignment.Selector) bool {
		return slices.ContainsFunc(list, func(s assignment.Selector) bool { return strings.EqualFold(s.Kind, "resourceLocation") })
	}
	spec := &u.Assignment.Spec
	return slices.ContainsFunc(spec.ResourceSelectors, func(s assignment.Selectors) bool { return asks(s.Selectors) }) ||
		slices.ContainsFunc(spec.Overrides, func(o assignment.Override) bool { return asks(o.Selectors) })
}

// judge turns an outlook into a finding.
func (c *checking) judge(d *Document, u *assignment.Unit, o policy.Outlook, doubts []policy.Doubt) {
	f := c.finding(u, d)
	f.Explanation = o.Explanation
	switch {
	case o.State == policy.NotApplicable:
		return
	case len(o.Doubts) > 0:
		f.State, f.Unknown = Unknown, append(doubts, o.Doubts...)
		f.Effect = u.Effect(d.Type, d.Location)
		f.Family = policy.EffectNamed(f.Effect)
		if f.Family == policy.Disabled || f.Family == policy.DenyAction || f.Family == policy.Manual {
			return
		}
	case o.State == policy.Failed:
		f.State, f.Message = Failed, "the policy failed while evaluating: "+o.Problem.Error()
		c.locate(&f, d, nil)
		c.add(f)
		return
	case o.State == policy.None:
		f.State = Compliant
	default:
		if !c.hit(&f, o, doubts) {
			return
		}
	}
	if f.State != Compliant {
		if e := c.rules.set.Exempt(u, d.ID, d.Type, d.Location, c.now); e != nil {
			f.State, f.Message = Exempt, fmt.Sprintf("exempt (%s) by %s", e.Category, e.ID)
		}
	}
	c.describe(&f, d, u, o)
	c.add(f)
}

// hit is what an effect means before the resource exists; false for effects that
// only matter later.
func (c *checking) hit(f *Finding, o policy.Outlook, doubts []policy.Doubt) bool {
	f.Effect, f.Family, f.State = o.Effect, o.Family, NonCompliant
	switch o.Family {
	case policy.DenyAction, policy.Manual, policy.Other:
		return false
	case policy.Modify, policy.Append, policy.DeployIfNotExists:
		f.State = Changes
	}
	if o.Lacks != "" && o.Family == policy.AuditIfNotExists {
		doubts = append(slices.Clone(doubts), policy.Doubt{Field: "whether there is a related " + o.Lacks})
	}
	if len(doubts) > 0 {
		f.State, f.Unknown = Unknown, doubts
	}
	return true
}

func (c *checking) finding(u *assignment.Unit, d *Document) Finding {
	f := Finding{Policy: c.rules.name(u), Definition: u.DefinitionID, Reference: u.ReferenceID, Assignment: u.Assignment.ID.String(), Enforced: u.Assignment.Enforced}
	if d != nil {
		f.Resource, f.ID, f.Type = d.Source, d.ID.String(), string(d.Type)
		if hidden(d, "id") {
			f.ID = ""
		}
	}
	return f
}

// name is what people call the policy of a unit.
func (r *Rules) name(u *assignment.Unit) string {
	if name := r.names[strings.ToLower(u.DefinitionID)]; name != "" {
		return name
	}
	return u.DefinitionID[strings.LastIndexByte(u.DefinitionID, '/')+1:]
}

// describe says what the finding is about, and where that is written.
func (c *checking) describe(f *Finding, d *Document, u *assignment.Unit, o policy.Outlook) {
	var at []string
	switch f.State {
	case Unknown:
		var fields []string
		for _, doubt := range f.Unknown {
			if s := doubt.String(); !slices.Contains(fields, s) {
				fields = append(fields, s)
			}
			at = append(at, doubt.Address)
		}
		f.Message = "it cannot be told yet, this is not known: " + strings.Join(fields, ", ")
	case NonCompliant, Changes, Exempt:
		for _, e := range explain.Reasons(o.Explanation) {
			if e.Subject == "type" && len(f.Reasons) == 0 {
				continue // that is why the policy looks, not why it holds
			}
			f.Reasons = append(f.Reasons, explain.Sentence(e))
			at = append(at, e.Address)
		}
		if o.Lacks != "" {
			f.Reasons = append(f.Reasons, "there is no related "+o.Lacks)
		}
		if f.State != Exempt {
			f.Message = cmp.Or(u.Message(), f.Policy)
		}
	}
	c.locate(f, d, at)
}

// locate takes the first of some addresses that is written down.
func (c *checking) locate(f *Finding, d *Document, addresses []string) {
	f.File, f.Line = d.At("")
	for _, address := range addresses {
		if file, line := d.At(address); address != "" && (file != d.File || line != d.Line) {
			f.File, f.Line = file, line
			return
		}
	}
}

// context is what the rules' functions may ask. The group is known if it is among
// what is checked; of the subscription nothing is.
func (c *checking) context(d *Document, u *assignment.Unit) value.Value {
	fields := []value.Field{{Key: "policy", Value: u.PolicyContext()}, {Key: "utcNow", Value: text(c.now.UTC().Format("2006-01-02T15:04:05.0000000Z"))}}
	if !d.GroupUnknown {
		for _, g := range c.in.Documents {
			if g.Type.Equal(arm.TypeResourceGroup) && strings.EqualFold(g.ID.ResourceGroup(), d.ID.ResourceGroup()) && g.ID.Subscription() == d.ID.Subscription() && complete(g) {
				fields = append(fields, value.Field{Key: "resourceGroup", Value: withTags(g.Resource.Root().AsPlain())})
				break
			}
		}
	}
	return value.FromFields(fields)
}

// complete reports whether all but the id of a document is known.
func complete(d *Document) bool {
	return !d.Unknown.Rest && !slices.ContainsFunc(d.Unknown.Paths, func(p string) bool { return p != "id" })
}

func withTags(group value.Value) value.Value {
	if find(group, "tags").IsNothing() {
		return group.With("tags", value.FromFields(nil))
	}
	return group
}

// related looks for related resources among what is checked.
type related struct {
	c *checking
	d *Document
}

// FindRelated implements policy.Related.
func (r related) FindRelated(q policy.Query) ([]*policy.Resource, error) {
	var found []*policy.Resource
	for _, d := range r.c.in.Documents {
		if !d.Conditional && d.Type.Equal(arm.Type(q.Type)) && r.near(d, q) && r.named(d, q) {
			found = append(found, d.Resource)
		}
	}
	return found, nil
}

// near reports whether a document is where the query looks: below the resource, for
// types that hang on it, else in the group that it names.
func (r related) near(d *Document, q policy.Query) bool {
	if parent, child := d.Type.Parent(); child && parent.Equal(r.d.Type) {
		return r.d.ID.Contains(d.ID)
	}
	if r.d.ID.Contains(d.ID) {
		return true
	}
	group := cmp.Or(q.ResourceGroupName, r.d.ID.ResourceGroup())
	return d.ID.Subscription() == r.d.ID.Subscription() &&
		(strings.EqualFold(q.ExistenceScope, "subscription") || d.GroupUnknown || strings.EqualFold(d.ID.ResourceGroup(), group))
}

func (r related) named(d *Document, q policy.Query) bool {
	if q.Kind != "" && !strings.EqualFold(find(d.Resource.Root(), "kind").Str(), q.Kind) {
		return false
	}
	return q.Name == "" || strings.EqualFold(q.Name, d.ID.Name()) || strings.EqualFold(q.Name, strings.Join(d.ID.Names(), "/"))
}
