package policyinsights

import (
	"context"
	"encoding/json"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// view is what the records of one answer share.
type view struct {
	ctx    context.Context
	call   *provider.Call
	reader *compliance.Reader
	tags   map[string]string // of resources, as JSON text
}

// column is one property of a policy state, in Azure's spelling and order.
type column struct {
	name string
	get  func(v *view, r compliance.Row) any
}

func text(f func(r compliance.Row) string) func(*view, compliance.Row) any {
	return func(_ *view, r compliance.Row) any { return f(r) }
}

func ofID(f func(id arm.ID) string) func(*view, compliance.Row) any {
	return text(func(r compliance.Row) string {
		id, err := arm.ParseID(r.Resource)
		if err != nil {
			return ""
		}
		return f(id)
	})
}

func initiative(f func(id arm.ID) string) func(*view, compliance.Row) any {
	return text(func(r compliance.Row) string {
		if !r.Unit.Assignment.Initiative {
			return ""
		}
		return f(r.Unit.Assignment.Definition)
	})
}

var columns = []column{
	{"timestamp", func(_ *view, r compliance.Row) any { return r.Time }},
	{"resourceId", text(func(r compliance.Row) string { return r.Resource })},
	{"policyAssignmentId", text(func(r compliance.Row) string { return r.Unit.Assignment.ID.String() })},
	{"policyDefinitionId", text(func(r compliance.Row) string { return r.Unit.DefinitionID })},
	{"effectiveParameters", text(func(compliance.Row) string { return "" })},
	{"isCompliant", func(_ *view, r compliance.Row) any { return r.State.Counts() }},
	{"subscriptionId", ofID(arm.ID.Subscription)},
	{"resourceType", text(func(r compliance.Row) string { return string(r.Type) })},
	{"resourceLocation", text(func(r compliance.Row) string { return r.Location })},
	{"resourceGroup", ofID(arm.ID.ResourceGroup)},
	{"resourceTags", func(v *view, r compliance.Row) any { return v.tagsOf(r.Resource) }},
	{"policyAssignmentName", text(func(r compliance.Row) string { return r.Unit.Assignment.Name })},
	{"policyAssignmentOwner", text(func(compliance.Row) string { return "tbd" })},
	{"policyAssignmentParameters", text(func(r compliance.Row) string { return string(r.Unit.Assignment.Spec.Parameters) })},
	{"policyAssignmentScope", text(func(r compliance.Row) string { return r.Unit.Assignment.Scope.String() })},
	{"policyDefinitionName", text(func(r compliance.Row) string { return lastName(r.Unit.DefinitionID) })},
	{"policyDefinitionAction", text(func(r compliance.Row) string { return strings.ToLower(r.Effect()) })},
	{"policyDefinitionCategory", text(category)},
	{"policySetDefinitionId", initiative(arm.ID.String)},
	{"policySetDefinitionName", initiative(arm.ID.Name)},
	{"policySetDefinitionOwner", text(func(compliance.Row) string { return "" })},
	{"policySetDefinitionCategory", text(func(compliance.Row) string { return "" })},
	{"policySetDefinitionParameters", text(func(compliance.Row) string { return "" })},
	{"managementGroupIds", func(v *view, r compliance.Row) any { return v.groupsOf(r.Resource) }},
	{"policyDefinitionReferenceId", text(func(r compliance.Row) string { return r.Unit.ReferenceID })},
	{"complianceState", text(func(r compliance.Row) string { return string(r.State) })},
	{"policyDefinitionVersion", text(func(r compliance.Row) string { return r.Unit.DefinitionVersion })},
	{"policyExemptionId", text(func(r compliance.Row) string {
		if r.Exemption == nil {
			return ""
		}
		return r.Exemption.ID.String()
	})},
}

// columnAt finds a column by its name in lower case.
var columnAt = func() map[string]column {
	m := map[string]column{}
	for _, c := range columns {
		m[strings.ToLower(c.name)] = c
	}
	return m
}()

func knownColumn(name string) bool { _, ok := columnAt[strings.ToLower(name)]; return ok }

func (v *view) get(r compliance.Row, name string) any {
	if c, ok := columnAt[name]; ok {
		return c.get(v, r)
	}
	return nil
}

func category(r compliance.Row) string {
	p := r.Unit.Program(r.Type, r.Location)
	if p == nil {
		return ""
	}
	return p.Definition().Metadata.Find(value.NewKey("category")).Str()
}

func lastName(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func sameName(a, b string) bool { return strings.EqualFold(lastName(a), lastName(b)) }

// tagsOf is a resource's tags as a text, as Azure has them.
func (v *view) tagsOf(id string) string {
	if t, ok := v.tags[id]; ok {
		return t
	}
	t := ""
	if d, err := store.Get(v.ctx, v.call.Runtime.Store, strings.ToLower(id)); err == nil && len(d.Tags) > 0 {
		if raw, err := json.Marshal(d.Tags); err == nil {
			t = string(raw)
		}
	}
	v.tags[id] = t
	return t
}

func (v *view) groupsOf(resource string) string {
	id, err := arm.ParseID(resource)
	if err != nil {
		return ""
	}
	var names []string
	for _, g := range v.reader.Set.Hierarchy.Ancestors(id) {
		names = append(names, g.Name())
	}
	return strings.Join(names, ",")
}

// object is a record as it is answered.
func (v *view) object(q *query, r compliance.Row) object {
	o := object{{"@odata.id", nil}, {"@odata.context", nil}}
	for _, c := range columns {
		if q.selected == nil || contains(q.selected, c.name) {
			o = append(o, property{c.name, plain(c.get(v, r))})
		}
	}
	if q.selected == nil || contains(q.selected, "policyDefinitionGroupNames") {
		o = append(o, property{"policyDefinitionGroupNames", append([]string{}, r.Unit.Groups...)})
	}
	return o
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// queryStates serves …/policyStates/{latest|default}/queryResults.
func (cfg Config) queryStates(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	q, err := readQuery(c.Request.Query, c.Runtime.Now(), knownColumn)
	if err != nil {
		return nil, err
	}
	history, err := historyOf(c.Vars["resource"])
	if err != nil {
		return nil, err
	}
	reader, err := cfg.Engine.Read(ctx)
	if err != nil {
		return nil, err
	}
	a := &answering{cfg: cfg, view: &view{ctx: ctx, call: c, reader: reader, tags: map[string]string{}}, q: q}
	if err := a.collect(targetOf(c.Scope), history); err != nil {
		return nil, err
	}
	return a.answer("policyStates")
}

// historyOf tells "latest" and "default" (which has the past as well) apart.
func historyOf(resource string) (bool, error) {
	switch strings.ToLower(resource) {
	case "latest":
		return false, nil
	case "default":
		return true, nil
	}
	return false, arm.BadRequest("InvalidPolicyStatesResource", "policyStatesResource", "%q is neither latest nor default.", clip(resource))
}

// answering is one answer to a query on its way.
type answering struct {
	*view
	cfg  Config
	q    *query
	list *list[compliance.Row]
	pipe *pipeline
}

func (a *answering) collect(t target, history bool) error {
	a.list = &list[compliance.Row]{q: a.q, get: a.get}
	a.pipe = newPipeline(a.q.apply)
	take := func(r compliance.Row) bool {
		get := func(name string) any { return a.get(r, name) }
		if !t.keeps(r.Unit) || !a.q.filter(get) || !a.pipe.passes(get) {
			return true
		}
		if a.pipe.first != nil {
			a.pipe.first.add(get)
		} else {
			a.list.add(r)
		}
		return true
	}
	if err := a.reader.Rows(a.ctx, t.scope, take); err != nil || !history {
		return err
	}
	return a.past(t, take)
}

// past adds what verdicts were before, in the span that is asked for.
func (a *answering) past(t target, take func(compliance.Row) bool) error {
	changes, err := a.cfg.Engine.Transitions(a.ctx, t.scope, a.q.from, a.q.to)
	if err != nil {
		return err
	}
	for _, x := range changes {
		as := a.reader.Set.Assignment(x.Assignment)
		if as == nil {
			continue
		}
		for _, u := range as.Units {
			if strings.EqualFold(u.ReferenceID, x.Reference) {
				take(compliance.Row{Resource: x.Resource, Type: arm.Type(x.Type), Location: x.Location, Time: x.Time, Unit: u, State: x.From})
			}
		}
	}
	return nil
}

func (a *answering) answer(what string) (*provider.Response, error) {
	objects, total, err := a.objects()
	if err != nil {
		return nil, err
	}
	return respond(a.call, a.q, what, objects, total, a.reader.Progress, a.reader.Current)
}

func (a *answering) objects() ([]object, int, error) {
	if a.pipe.first != nil {
		return window(a.q, a.pipe.finish())
	}
	objects := []object{}
	for _, r := range a.list.page() {
		o := a.object(a.q, r)
		if a.q.details {
			d, err := a.details(r)
			if err != nil {
				return nil, 0, err
			}
			o = append(o, property{"policyEvaluationDetails", d})
		}
		objects = append(objects, o)
	}
	return objects, a.list.total, nil
}

// window is the part of grouped records that is shown.
func window(q *query, all []object) ([]object, int, error) {
	l := &list[object]{q: q, get: func(o object, name string) any { return o.get(name) }}
	for _, o := range all {
		l.add(o)
	}
	return append([]object{}, l.page()...), l.total, nil
}

// evaluation is why a resource is in its state, in Azure's shape, and our reason in
// one sentence.
type evaluation struct {
	EvaluatedExpressions []assignment.Expression `json:"evaluatedExpressions"`
	IfNotExistsDetails   *ifNotExists            `json:"ifNotExistsDetails,omitempty"`
	Reason               string                  `json:"reason,omitempty"`
}

type ifNotExists struct {
	ResourceID     string `json:"resourceId,omitempty"`
	TotalResources int    `json:"totalResources"`
}

func (a *answering) details(r compliance.Row) (*evaluation, error) {
	why, err := a.reader.Explain(a.ctx, r.Resource, r.Unit)
	if err != nil {
		return nil, err
	}
	e := &evaluation{EvaluatedExpressions: why.Expressions, Reason: why.Message}
	if f := policy.EffectNamed(r.Effect()); f == policy.AuditIfNotExists || f == policy.DeployIfNotExists {
		e.IfNotExistsDetails = related(why.Explanation)
	}
	return e, nil
}

// related counts the related resources that an explanation looked at.
func related(tree *policy.Explanation) *ifNotExists {
	d := &ifNotExists{}
	if tree == nil {
		return d
	}
	for _, c := range tree.Children {
		if c.Kind == "existence" {
			d.TotalResources++
			d.ResourceID = c.Subject
		}
	}
	return d
}

// respond writes a list as OData, with how current it is.
func respond(c *provider.Call, q *query, what string, objects []object, total int, p compliance.Progress, current bool) (*provider.Response, error) {
	body := object{{"@odata.context", c.Request.BaseURL + strings.TrimSuffix(c.Scope.String(), "/") + "/providers/" + namespace + what + "/$metadata#" + c.Vars["resource"]},
		{"@odata.count", len(objects)}}
	if next := nextLink(c, q, len(objects), total); next != "" {
		body = append(body, property{"@odata.nextLink", next})
	}
	body = append(body, currency(p, current)...)
	return provider.JSON(200, append(body, property{"value", objects}))
}

// currency tells a reader how far evaluation had come: Hallmark's own addition.
func currency(p compliance.Progress, current bool) object {
	return object{{"@hallmark.evaluatedRevision", p.Evaluated}, {"@hallmark.current", current}, {"@hallmark.pendingAssignments", p.Pending}}
}
