package compliance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/store"
)

// WhatIfRequest is an assignment that nobody has made yet.
type WhatIfRequest struct {
	Assignment  *store.Document
	Definitions []*store.Document // that are not stored, or stored differently
	TeamTag     string            // the tag that says whose a resource is
	Examples    int               // at most this many for each team
}

// WhatIf is what an assignment would do to the estate as it is.
type WhatIf struct {
	Scope    string         `json:"scope"`
	Enforced bool           `json:"enforced"` // false: nothing would be refused or changed, only recorded
	Total    Impact         `json:"total"`
	Policies []PolicyImpact `json:"policies"`
	Teams    []TeamImpact   `json:"teams"`
}

// Impact counts resources, each once.
type Impact struct {
	Resources int `json:"resources"` // that a policy looks at
	Flagged   int `json:"flagged"`   // would be non-compliant
	Denied    int `json:"denied"`    // the next change of them would be refused
	Changed   int `json:"changed"`   // the next change of them, or a remediation, would also change
	Deployed  int `json:"deployed"`  // a remediation would deploy something for
	Failed    int `json:"failed"`    // a policy cannot be evaluated on
}

// PolicyImpact is what one policy would do.
type PolicyImpact struct {
	ReferenceID  string `json:"policyDefinitionReferenceId,omitempty"`
	DefinitionID string `json:"policyDefinitionId"`
	Name         string `json:"displayName"`
	Problem      string `json:"problem,omitempty"` // why it cannot be evaluated at all
	Impact
}

// TeamImpact is what would happen to one team's resources.
type TeamImpact struct {
	Team string `json:"team"` // "" without one
	Impact
	Examples []Example `json:"examples"`
}

// Example is one resource to one policy.
type Example struct {
	ResourceID  string   `json:"resourceId"`
	ReferenceID string   `json:"policyDefinitionReferenceId,omitempty"`
	Policy      string   `json:"policy"`
	Effect      string   `json:"effect"`
	What        string   `json:"what"` // flag, deny, change, deploy or error
	Reasons     []string `json:"reasons"`
	Changes     []string `json:"changes,omitempty"`
}

// WhatIf evaluates an assignment over what it would cover, and stores nothing. An
// assignment that cannot be evaluated is an *arm.Error.
func (e *Engine) WhatIf(ctx context.Context, r WhatIfRequest) (*WhatIf, error) {
	var set *assignment.Set
	err := e.cfg.Store.View(ctx, func(tx store.ReadTx) (err error) {
		set, err = e.cfg.Index.Hypothetical(tx, r.Assignment, r.Definitions)
		return err
	})
	if err != nil {
		return nil, err
	}
	a := set.Assignments[0]
	if a.Problem != nil {
		return nil, arm.BadRequest("InvalidPolicyAssignment", "assignment", "The assignment cannot be evaluated: %v.", a.Problem)
	}
	w := &whatIf{engine: e, set: set, request: r, assignment: a, teams: map[string]*TeamImpact{}, out: &WhatIf{Scope: a.Scope.String(), Enforced: a.Enforced}}
	for _, u := range a.Units {
		w.out.Policies = append(w.out.Policies, policyImpact(u))
	}
	if err := w.estate(ctx); err != nil {
		return nil, err
	}
	w.finish()
	return w.out, nil
}

func policyImpact(u *assignment.Unit) PolicyImpact {
	p := PolicyImpact{ReferenceID: u.ReferenceID, DefinitionID: u.DefinitionID, Name: label(u)}
	if u.Problem != nil {
		p.Problem = u.Problem.Error()
	}
	return p
}

// label is what a reader calls a policy.
func label(u *assignment.Unit) string {
	if p := u.Program("", ""); p != nil {
		return p.Definition().Label()
	}
	return u.DefinitionID[strings.LastIndexByte(u.DefinitionID, '/')+1:]
}

// whatIf is one answer on its way.
type whatIf struct {
	engine     *Engine
	set        *assignment.Set
	request    WhatIfRequest
	assignment *assignment.Assignment
	teams      map[string]*TeamImpact
	out        *WhatIf
}

// estate walks over what the assignment may cover, a page at a time.
func (w *whatIf) estate(ctx context.Context) error {
	subs, err := w.engine.subscriptions(ctx)
	if err != nil {
		return err
	}
	types := typesOf([]*assignment.Assignment{w.assignment})
	for _, q := range scopesOf(w.set, []*assignment.Assignment{w.assignment}, subs) {
		if types == nil {
			types = []string{""}
		}
		for _, t := range types {
			q.Type, q.Limit, q.After = arm.Type(t), page, ""
			if err := w.pages(ctx, q); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *whatIf) pages(ctx context.Context, q store.Query) error {
	for {
		var docs []*store.Document
		err := w.engine.cfg.Store.View(ctx, func(tx store.ReadTx) (err error) {
			if docs, err = tx.List(q); err != nil || len(docs) == 0 {
				return err
			}
			world := w.engine.world(tx)
			world.From, world.To = docs[0].Key, docs[len(docs)-1].Key
			for _, d := range docs {
				if err := w.document(world, d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("trying the assignment on the estate: %w", err)
		}
		if len(docs) < q.Limit {
			return nil
		}
		q.After = docs[len(docs)-1].Key
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (w *whatIf) document(world *assignment.World, d *store.Document) error {
	if !governed(d) || !w.set.Covers(w.assignment, d.ARMID()) {
		return nil
	}
	s, err := world.Subject(d, "")
	if err != nil {
		return err
	}
	var total Impact
	for i, u := range w.assignment.Units {
		state, v, err := weigh(u, s)
		if err != nil {
			return err
		}
		if state == "" {
			continue
		}
		one := impactOf(state, v)
		w.out.Policies[i].add(one)
		total.merge(one)
		if one.Flagged+one.Failed > 0 {
			if err := w.example(d, u, s, v, one); err != nil {
				return err
			}
		}
	}
	if total.Resources > 0 {
		w.out.Total.add(total)
		w.team(d).add(total)
	}
	return nil
}

func impactOf(state State, v policy.Verdict) Impact {
	i := Impact{Resources: 1}
	switch {
	case state == Failed:
		i.Failed = 1
	case state != NonCompliant:
	default:
		i.Flagged = 1
		switch {
		case v.Family == policy.Deny:
			i.Denied = 1
		case v.Family == policy.DeployIfNotExists:
			i.Deployed = 1
		case v.Changes != nil && len(v.Changes.Operations) > 0:
			i.Changed = 1
		}
	}
	return i
}

func (i *Impact) add(o Impact) {
	i.Resources += o.Resources
	i.Flagged += o.Flagged
	i.Denied += o.Denied
	i.Changed += o.Changed
	i.Deployed += o.Deployed
	i.Failed += o.Failed
}

// merge is add for the same resource: it counts once.
func (i *Impact) merge(o Impact) {
	i.Resources = max(i.Resources, o.Resources)
	i.Flagged = max(i.Flagged, o.Flagged)
	i.Denied = max(i.Denied, o.Denied)
	i.Changed = max(i.Changed, o.Changed)
	i.Deployed = max(i.Deployed, o.Deployed)
	i.Failed = max(i.Failed, o.Failed)
}

// team is whose a resource is: by the tag, whatever its case.
func (w *whatIf) team(d *store.Document) *TeamImpact {
	name := ""
	for k, v := range d.Tags {
		if strings.EqualFold(k, w.request.TeamTag) {
			name = v
		}
	}
	if w.teams[name] == nil {
		w.teams[name] = &TeamImpact{Team: name, Examples: []Example{}}
	}
	return w.teams[name]
}

func (w *whatIf) example(d *store.Document, u *assignment.Unit, s *assignment.Subject, v policy.Verdict, i Impact) error {
	t := w.team(d)
	if len(t.Examples) >= w.request.Examples {
		return nil
	}
	x := Example{ResourceID: d.ID, ReferenceID: u.ReferenceID, Policy: label(u), Effect: cmp.Or(v.Effect, u.Effect(d.Type, d.Location)), What: i.what(), Reasons: []string{}}
	switch {
	case u.Problem != nil:
		x.Reasons = append(x.Reasons, u.Problem.Error())
	case v.Problem != nil:
		x.Reasons = append(x.Reasons, v.Problem.Error())
	default:
		_, tree, err := u.Explain(s)
		if err != nil {
			return err
		}
		x.Reasons = assignment.Reasons(tree)
	}
	x.Changes = changes(v)
	t.Examples = append(t.Examples, x)
	return nil
}

func (i Impact) what() string {
	switch {
	case i.Failed > 0:
		return "error"
	case i.Denied > 0:
		return "deny"
	case i.Changed > 0:
		return "change"
	case i.Deployed > 0:
		return "deploy"
	}
	return "flag"
}

// changes are modify's and append's operations in words.
func changes(v policy.Verdict) (out []string) {
	if v.Changes == nil {
		return nil
	}
	for _, c := range v.Changes.Operations {
		text := c.Operation + " " + c.Field
		if !c.Value.IsUndefined() {
			text += " = " + c.Value.JSON()
		}
		out = append(out, text)
	}
	return out
}

// finish orders the teams: those who are hit hardest first.
func (w *whatIf) finish() {
	w.out.Teams = []TeamImpact{}
	for _, t := range w.teams {
		w.out.Teams = append(w.out.Teams, *t)
	}
	slices.SortFunc(w.out.Teams, func(a, b TeamImpact) int {
		return cmp.Or(b.Denied-a.Denied, b.Flagged-a.Flagged, strings.Compare(a.Team, b.Team))
	})
}
