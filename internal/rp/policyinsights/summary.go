package policyinsights

import (
	"context"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
)

// results is one roll-up, in Azure's shape.
type results struct {
	QueryResultsURI       *string `json:"queryResultsUri"`
	NonCompliantResources int     `json:"nonCompliantResources"`
	NonCompliantPolicies  int     `json:"nonCompliantPolicies"`
	ResourceDetails       []count `json:"resourceDetails"`
	PolicyDetails         []count `json:"policyDetails"`
	PolicyGroupDetails    []count `json:"policyGroupDetails"`
	// CompliancePercentage is (Compliant + Exempt + Unknown + Protected) / all
	// resources: Hallmark's addition; the portal computes it from resourceDetails.
	CompliancePercentage float64 `json:"hallmark.compliancePercentage"`
}

type count struct {
	ComplianceState string `json:"complianceState"`
	Count           int    `json:"count"`
}

// tally counts resources by the state that decides for each. Rows of one resource
// come one after the other, so one resource is kept at a time.
type tally struct {
	resources map[compliance.State]int
	worst     compliance.State // of the current resource
}

func (t *tally) see(s compliance.State) {
	if t.worst == "" || compliance.Worse(s, t.worst) {
		t.worst = s
	}
}

// flush adds the current resource, which stands for n.
func (t *tally) flush(n int) {
	if t.worst == "" {
		return
	}
	if t.resources == nil {
		t.resources = map[compliance.State]int{}
	}
	t.resources[t.worst] += n
	t.worst = ""
}

// summary collects rows.
type summary struct {
	current  string // the resource that rows are about
	alike    int    // how many resources it stands for
	touched  []*tally
	overall  tally
	policies map[*assignment.Unit]*tally
	groups   map[string]compliance.State
	assigned map[*assignment.Assignment]*tally
	order    []*assignment.Assignment
}

func newSummary() *summary {
	return &summary{policies: map[*assignment.Unit]*tally{}, assigned: map[*assignment.Assignment]*tally{}, groups: map[string]compliance.State{}}
}

func (s *summary) add(r compliance.Row) {
	if r.Resource != s.current {
		s.flush()
		s.current, s.alike = r.Resource, 1
	}
	a := r.Unit.Assignment
	if s.assigned[a] == nil {
		s.assigned[a] = &tally{}
		s.order = append(s.order, a)
	}
	if s.policies[r.Unit] == nil {
		s.policies[r.Unit] = &tally{}
	}
	for _, t := range []*tally{&s.overall, s.assigned[a], s.policies[r.Unit]} {
		if t.worst == "" {
			s.touched = append(s.touched, t)
		}
		t.see(r.State)
	}
	for _, g := range r.Unit.Groups {
		if was := s.groups[g]; was == "" || compliance.Worse(r.State, was) {
			s.groups[g] = r.State
		}
	}
}

// addAlike adds the rows of a resource that stands for several.
func (s *summary) addAlike(rows []compliance.Row, resources int, t target) {
	s.flush()
	s.current = "" // the next one is another, whatever it is called
	for _, r := range rows {
		if t.keeps(r.Unit) {
			s.add(r)
			s.alike = resources
		}
	}
}

func (s *summary) flush() {
	for _, t := range s.touched {
		t.flush(s.alike)
	}
	s.touched = s.touched[:0]
}

// policyState is what a policy is over all its resources.
func (t *tally) policyState() (worst compliance.State) {
	for s := range t.resources {
		if worst == "" || compliance.Worse(s, worst) {
			worst = s
		}
	}
	return worst
}

// results rolls a tally up, with the policies that belong to it.
func (s *summary) results(t *tally, units []*assignment.Unit) results {
	states := map[compliance.State]int{}
	for _, u := range units {
		if p := s.policies[u]; p != nil {
			states[p.policyState()]++
		}
	}
	r := results{NonCompliantResources: t.resources[compliance.NonCompliant], NonCompliantPolicies: states[compliance.NonCompliant],
		ResourceDetails: counts(t.resources), PolicyDetails: counts(states), PolicyGroupDetails: []count{}}
	all, good := 0, 0
	for state, n := range t.resources {
		if all += n; state.Counts() {
			good += n
		}
	}
	r.CompliancePercentage = 100
	if all > 0 {
		r.CompliancePercentage = float64(good) / float64(all) * 100
	}
	return r
}

func counts(by map[compliance.State]int) []count {
	out := []count{}
	for s, n := range by {
		out = append(out, count{strings.ToLower(string(s)), n})
	}
	slices.SortFunc(out, func(a, b count) int { return strings.Compare(a.ComplianceState, b.ComplianceState) })
	return out
}

// summarize serves …/policyStates/latest/summarize.
func (cfg Config) summarize(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	q, err := readQuery(c.Request.Query, c.Runtime.Now(), knownColumn)
	if err != nil {
		return nil, err
	}
	reader, err := cfg.Engine.Read(ctx)
	if err != nil {
		return nil, err
	}
	v, t, s := &view{ctx: ctx, call: c, reader: reader, tags: map[string]string{}}, targetOf(c.Scope), newSummary()
	if q.filtered {
		err = reader.Rows(ctx, t.scope, func(r compliance.Row) bool {
			if t.keeps(r.Unit) && q.filter(func(name string) any { return v.get(r, name) }) {
				s.add(r)
			}
			return true
		})
	} else {
		err = reader.Counts(ctx, t.scope, func(rows []compliance.Row, resources int) { s.addAlike(rows, resources, t) })
	}
	if err != nil {
		return nil, err
	}
	s.flush()
	body := object{{"@odata.context", c.Request.BaseURL + strings.TrimSuffix(c.Scope.String(), "/") + "/providers/" + namespace + "policyStates/$metadata#summary"}, {"@odata.count", 1}}
	body = append(body, currency(reader.Progress, reader.Current)...)
	return provider.JSON(200, append(body, property{"value", []object{s.object(reader.Set, t, q.top, c.Runtime.Now())}}))
}

func (s *summary) object(set *assignment.Set, t target, top int, now time.Time) object {
	// An assignment that nothing falls under is listed too: it is compliant.
	for _, a := range set.Assignments {
		if s.assigned[a] == nil && t.lists(set, a) {
			s.assigned[a] = &tally{}
			s.order = append(s.order, a)
		}
	}
	slices.SortFunc(s.order, func(a, b *assignment.Assignment) int { return strings.Compare(a.ID.Key(), b.ID.Key()) })
	var units []*assignment.Unit
	for _, a := range s.order {
		units = append(units, a.Units...)
	}
	overall := s.results(&s.overall, units)
	byGroup := map[compliance.State]int{}
	for _, state := range s.groups {
		byGroup[state]++
	}
	overall.PolicyGroupDetails = counts(byGroup)
	assignments := []object{}
	for _, a := range s.order[:min(top, len(s.order))] {
		assignments = append(assignments, s.assignment(a))
	}
	return object{{"@odata.id", nil}, {"@odata.context", nil}, {"results", overall}, {"policyAssignments", assignments},
		{"hallmark.expiringExemptions", s.expiring(set, now)}}
}

// warning is how long before its end an exemption is pointed out.
const warning = 14 * 24 * time.Hour

// expiring are the exemptions that end soon, with who answers for them: what they
// cover stops complying that day.
func (s *summary) expiring(set *assignment.Set, now time.Time) []object {
	out := []object{}
	for _, a := range s.order {
		for _, x := range set.Exemptions(a) {
			if x.Expires.IsZero() || now.After(x.Expires) || x.Expires.Sub(now) > warning {
				continue
			}
			out = append(out, object{{"policyExemptionId", x.ID.String()}, {"policyAssignmentId", a.ID.String()}, {"exemptionCategory", x.Category},
				{"expiresOn", plain(x.Expires)}, {"owner", x.Owner}, {"ticket", x.Ticket}})
		}
	}
	return out
}

// lists reports whether an assignment belongs to what a target asks for.
func (t target) lists(set *assignment.Set, a *assignment.Assignment) bool {
	if !set.Hierarchy.Contains(a.Scope, t.scope) && !set.Hierarchy.Contains(t.scope, a.Scope) {
		return false
	}
	return slices.ContainsFunc(a.Units, t.keeps)
}

func (s *summary) assignment(a *assignment.Assignment) object {
	definitions := []object{}
	for _, u := range a.Units {
		t := s.policies[u]
		if t == nil {
			continue
		}
		definitions = append(definitions, object{{"policyDefinitionId", u.DefinitionID}, {"policyDefinitionReferenceId", u.ReferenceID},
			{"policyDefinitionGroupNames", append([]string{}, u.Groups...)}, {"effect", strings.ToLower(u.Effect("", ""))},
			{"results", s.results(t, []*assignment.Unit{u})}})
	}
	set := ""
	if a.Initiative {
		set = a.Definition.String()
	}
	o := object{{"policyAssignmentId", a.ID.String()}, {"policySetDefinitionId", set}, {"results", s.results(s.assigned[a], a.Units)}, {"policyDefinitions", definitions}}
	if a.Problem != nil {
		o = append(o, property{"hallmark.problem", a.Problem.Error()})
	}
	return o
}

// isModify reports whether a remediation can carry out an effect by itself.
func isModify(effect string) bool { return policy.EffectNamed(effect) == policy.Modify }
