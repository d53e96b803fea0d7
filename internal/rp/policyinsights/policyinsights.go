// Package policyinsights is the Microsoft.PolicyInsights provider: compliance states
// and their summaries, policy events, scans on demand, remediations, attestations
// and the check of a resource before it is made; beside it Hallmark.Compliance, for what
// Azure has no question for: explain and whatIf.
//
// It shows and drives what packages compliance and admission know and decides no
// verdict itself. cmd imports it; no other rp may.
package policyinsights

import (
	"context"
	"errors"
	"log/slog"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/controller"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what the provider works with.
type Config struct {
	TenantID string
	Engine   *compliance.Engine
	Index    *assignment.Index
	Facts    assignment.Facts // of image lineage; nil: there are none
	// Actor says as whom assignments with an identity put resources right; nil: as the
	// control plane itself.
	Actor Actor
	Log   *slog.Logger // nil: silent
}

var (
	stateVersions       = []string{"2024-10-01", "2019-10-01", "2018-04-04"}
	remediationVersions = []string{"2024-10-01", "2021-10-01", "2019-07-01"}
	attestationVersions = []string{"2024-10-01", "2022-09-01", "2021-01-01"}
)

const namespace = "Microsoft.PolicyInsights/"

// anywhere is where remediations and attestations may be.
const anywhere = provider.AtManagementGroup | provider.AtSubscription | provider.AtResourceGroup | provider.AtResource

// New is the provider.
func New(cfg Config) provider.Provider {
	states := provider.Route{Type: namespace + "policyStates", APIVersions: stateVersions}
	events := provider.Route{Type: namespace + "policyEvents", APIVersions: stateVersions}
	with := func(r provider.Route, method, path, permission string, handle handler) provider.Route {
		r.Method, r.Pattern, r.Permission, r.Handle = method, "{scope...}/providers/"+namespace+path, namespace+permission, existing(handle)
		return r
	}
	// What Azure has no question for is asked under a namespace of our own; asking changes nothing.
	ours := func(action string, handle handler) provider.Route {
		return provider.Route{Method: "POST", Pattern: "{scope...}/providers/Hallmark.Compliance/" + action, Permission: "Hallmark.Compliance/" + action + "/read", Handle: existing(handle)}
	}
	none := provider.Route{}
	return provider.Provider{
		Types:       []provider.ResourceType{cfg.remediations(), attestations()},
		Controllers: func(rt provider.Runtime) []controller.Controller { return []controller.Controller{cfg.deployer(rt)} },
		Routes: []provider.Route{
			with(states, "POST", "policyStates/{resource}/queryResults", "policyStates/queryResults/read", cfg.queryStates),
			with(none, "GET", "policyStates/{resource}/queryResults", "policyStates/queryResults/read", cfg.queryStates),
			with(none, "POST", "policyStates/{resource}/summarize", "policyStates/summarize/read", cfg.summarize),
			with(none, "POST", "policyStates/{resource}/triggerEvaluation", "policyStates/triggerEvaluation/action", cfg.trigger),
			with(events, "POST", "policyEvents/{resource}/queryResults", "policyEvents/queryResults/read", cfg.queryEvents),
			with(none, "GET", "policyEvents/{resource}/queryResults", "policyEvents/queryResults/read", cfg.queryEvents), // a nextLink
			with(none, "POST", "checkPolicyRestrictions", "checkPolicyRestrictions/read", cfg.checkRestrictions),
			with(none, "GET", "asyncOperationResults/{revision}", "asyncOperationResults/read", cfg.triggered),
			ours("explain", cfg.explain), ours("whatIf", cfg.whatIf),
		},
	}
}

// existing refuses questions about a management group or a subscription that is not there:
// that everything in it complies would be no answer.
func existing(handle handler) handler {
	return func(ctx context.Context, c *provider.Call) (*provider.Response, error) {
		for id := c.Scope; !id.IsRoot(); id = id.Parent() {
			if k := id.Kind(); k != arm.KindManagementGroup && k != arm.KindSubscription {
				continue
			}
			if _, err := store.Get(ctx, c.Runtime.Store, id.Key()); errors.Is(err, store.ErrNotFound) {
				return nil, arm.NotFound(id)
			} else if err != nil {
				return nil, err
			}
		}
		return handle(ctx, c)
	}
}

// target is whose states are asked for.
type target struct {
	scope                              arm.ID
	assignment, definition, initiative string // ids or names that restrict, in lower case
}

// targetOf reads the scope of a request: one that names an assignment, a definition
// or an initiative restricts to it, at the scope where that stands.
func targetOf(id arm.ID) target {
	t := target{scope: id.Scope()}
	switch typ := id.Type(); {
	case typ.Equal(assignment.TypeAssignment):
		t.assignment = id.Key()
	case typ.Equal(assignment.TypeDefinition):
		t.definition = id.Key()
	case typ.Equal(assignment.TypeInitiative):
		t.initiative = id.Key()
	default:
		t.scope = id
	}
	return t
}

func (t target) keeps(u *assignment.Unit) bool {
	return (t.assignment == "" || u.Assignment.ID.Key() == t.assignment) &&
		(t.definition == "" || sameName(u.DefinitionID, t.definition)) &&
		(t.initiative == "" || u.Assignment.Initiative && sameName(u.Assignment.Definition.String(), t.initiative))
}
