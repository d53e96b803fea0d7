package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

// The api-versions of the policy service.
const (
	apiPolicy      = "2023-04-01"
	apiExemption   = "2022-07-01-preview"
	apiStates      = "2019-10-01"
	apiRemediation = "2021-10-01"
)

const policyProvider = "/providers/Microsoft.Authorization/"

// Kinds of policy resources, as their types are called.
const (
	kindDefinitions = "policyDefinitions"
	kindInitiatives = "policySetDefinitions"
	kindAssignments = "policyAssignments"
	kindExemptions  = "policyExemptions"
)

// policyServiceCommands are those of hallmark policy that need an endpoint.
func (a *App) policyServiceCommands() []*cobra.Command {
	return []*cobra.Command{
		a.policyImport(), a.policyExport(), a.policyList(), a.policyShow(), a.policyWhatIf(), a.policyAssign(), a.policyUnassign(),
		a.policyExempt(), a.policyUnexempt(), a.policyState(), a.policyExplain(), a.policyRemediate(),
	}
}

// policyScope are the flags that say where policies stand or apply. Unlike a machine, a
// policy is in a group only if somebody says so.
type policyScope struct{ scope, subscription, group string }

func (p *policyScope) register(c *cobra.Command) {
	c.Flags().StringVar(&p.scope, "scope", "", "the id of a management group, subscription, group or resource, or tenant (default: the subscription)")
	c.Flags().StringVar(&p.subscription, "subscription", "", "the subscription's id (default: the context's)")
	c.Flags().StringVarP(&p.group, "resource-group", "g", "", "a resource group of the subscription")
}

// openAt opens the endpoint and finds the scope; "" is the tenant.
func (a *App) openAt(p policyScope) (*session, string, error) {
	s, err := a.open(scope{subscription: p.subscription, group: p.group})
	if err != nil {
		return nil, "", err
	}
	switch {
	case p.scope == "tenant" || p.scope == "/":
		return s, "", nil
	case strings.HasPrefix(p.scope, "/"):
		return s, strings.TrimRight(p.scope, "/"), nil
	case p.scope != "":
		return nil, "", usage("--scope %q: want an id that begins with /subscriptions/ or /providers/Microsoft.Management/managementGroups/, or tenant", p.scope)
	case p.group != "":
		return s, s.groupID(), nil
	}
	return s, s.subscriptionID(), nil
}

// policyID is a policy resource's id: of the scope and name, or what is an id already.
func policyID(scope, kind, name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return scope + policyProvider + kind + "/" + url.PathEscape(name)
}

// policyDocument is the part of the service's documents that the commands read.
type policyDocument struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Location   string `json:"location,omitempty"`
	Properties struct {
		DisplayName        string                    `json:"displayName"`
		Description        string                    `json:"description"`
		PolicyType         string                    `json:"policyType"`
		PolicyDefinitionID string                    `json:"policyDefinitionId"`
		PolicyAssignmentID string                    `json:"policyAssignmentId"`
		ExpiresOn          string                    `json:"expiresOn"`
		Parameters         map[string]policyArgument `json:"parameters"`
		Metadata           map[string]any            `json:"metadata"`
	} `json:"properties"`
}

// policyArgument is a parameter: declared with a type, or given with a value.
type policyArgument struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// findDefinition finds what a user calls a definition or an initiative: by its id, or by
// its name or display name at the scope, above it or among the built-ins.
func (s *session) findDefinition(ctx context.Context, scope, name string) (*policyDocument, error) {
	var d policyDocument
	if strings.HasPrefix(name, "/") {
		return &d, s.Get(ctx, name, apiPolicy, &d)
	}
	for at := range scopesUp(scope) {
		for _, kind := range []string{kindInitiatives, kindDefinitions} {
			err := s.Get(ctx, policyID(at, kind, name), apiPolicy, &d)
			if !azure.IsNotFound(err) && azure.Code(err) != "InvalidResourceType" {
				return &d, err
			}
		}
	}
	return s.findByDisplayName(ctx, scope, name)
}

// scopesUp are the scopes at which a definition may stand that is assigned at one.
func scopesUp(scope string) func(func(string) bool) {
	return func(yield func(string) bool) {
		if rest, ok := strings.CutPrefix(scope, "/subscriptions/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			scope = "/subscriptions/" + id
		}
		if scope == "" || yield(scope) {
			yield("")
		}
	}
}

func (s *session) findByDisplayName(ctx context.Context, scope, name string) (found *policyDocument, err error) {
	for _, kind := range []string{kindInitiatives, kindDefinitions} {
		err := s.eachPolicy(ctx, subscriptionOf(scope), kind, "", func(_ json.RawMessage, d policyDocument) error {
			if strings.EqualFold(d.Properties.DisplayName, name) {
				found = &d
			}
			return nil
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, &Error{Code: ExitNothing, Err: fmt.Errorf("there is no policy definition or initiative called %q at %s or above", name, shown(scope)),
		Hint: "hallmark policy list definitions (or initiatives) shows what there is; hallmark policy import takes more"}
}

// subscriptionOf is the scope at which definitions are listed for one further in.
func subscriptionOf(scope string) string {
	for at := range scopesUp(scope) {
		return at
	}
	return scope
}

func shown(scope string) string {
	if scope == "" {
		return "the tenant"
	}
	return scope
}

// eachPolicy reads a list of policy resources.
func (s *session) eachPolicy(ctx context.Context, scope, kind, filter string, f func(json.RawMessage, policyDocument) error) error {
	r := azure.Request{Path: scope + policyProvider + kind, APIVersion: apiPolicy, Query: url.Values{}}
	if kind == kindExemptions {
		r.APIVersion = apiExemption
	}
	if filter != "" {
		r.Query.Set("$filter", filter)
	}
	return s.List(ctx, r, func(raw json.RawMessage) error {
		var d policyDocument
		if err := json.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("reading %s: %w", kind, err)
		}
		return f(raw, d)
	})
}

// findAssignment finds an assignment by its id, or by its name at the scope, or, if only
// one has it, below or above.
func (s *session) findAssignment(ctx context.Context, scope, name string) (*policyDocument, error) {
	var d policyDocument
	if strings.HasPrefix(name, "/") {
		return &d, s.Get(ctx, name, apiPolicy, &d)
	}
	err := s.Get(ctx, policyID(scope, kindAssignments, name), apiPolicy, &d)
	if !azure.IsNotFound(err) {
		return &d, err
	}
	var found []policyDocument
	err = s.eachPolicy(ctx, scope, kindAssignments, "", func(_ json.RawMessage, d policyDocument) error {
		if strings.EqualFold(d.Name, name) || strings.EqualFold(d.Properties.DisplayName, name) {
			found = append(found, d)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, &Error{Code: ExitNothing, Err: fmt.Errorf("there is no policy assignment called %q at %s", name, shown(scope)), Hint: "hallmark policy list shows those there are"}
	case len(found) > 1:
		return nil, usage("%d assignments are called %q; name one by its id, or its scope with --scope", len(found), name)
	}
	return &found[0], nil
}

// last is the name at the end of an id.
func last(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// scopeOf is where a policy resource stands.
func scopeOf(id string) string {
	at := strings.LastIndex(strings.ToLower(id), strings.ToLower(policyProvider))
	if at < 0 {
		return ""
	}
	return id[:at]
}

// shortScope is a scope as a person says it.
func shortScope(id string) string {
	lower := strings.ToLower(id)
	switch {
	case id == "":
		return "tenant"
	case strings.Contains(lower, "/managementgroups/"):
		return "management group " + last(id)
	case strings.Contains(lower, "/providers/"):
		return segmentAfter(id, "resourceGroups") + "/" + last(id)
	case strings.Contains(lower, "/resourcegroups/"):
		return "group " + last(id)
	}
	return "subscription " + last(id)
}

// completeAssignments offers the names of assignments to a shell.
func (a *App) completeAssignments(c *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(arguments) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeKind(c, kindAssignments)
}

func (a *App) completeKind(c *cobra.Command, kind string) ([]string, cobra.ShellCompDirective) {
	s, at, err := a.openAt(policyScope{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	_ = s.eachPolicy(c.Context(), at, kind, "", func(_ json.RawMessage, d policyDocument) error {
		names = append(names, d.Name+"\t"+d.Properties.DisplayName)
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// choices completes a flag from fixed words.
func choices(c *cobra.Command, flag string, words ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
