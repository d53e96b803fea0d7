package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

// policyKinds are the words for what can be listed.
var policyKinds = map[string]string{
	"assignments": kindAssignments, "definitions": kindDefinitions, "initiatives": kindInitiatives, "exemptions": kindExemptions,
}

var policyColumns = map[string][]column{
	kindAssignments: {{"Name", "name"}, {"Scope", "scopeName"}, {"Assigns", "assigns"}, {"Enforcement", "properties.enforcementMode"}, {"DisplayName", "properties.displayName"}},
	kindDefinitions: {{"Name", "name"}, {"Scope", "scopeName"}, {"Type", "properties.policyType"}, {"Mode", "properties.mode"}, {"Category", "properties.metadata.category"}, {"DisplayName", "properties.displayName"}},
	kindInitiatives: {{"Name", "name"}, {"Scope", "scopeName"}, {"Type", "properties.policyType"}, {"Policies", "length(properties.policyDefinitions)"}, {"Category", "properties.metadata.category"}, {"DisplayName", "properties.displayName"}},
	kindExemptions: {{"Name", "name"}, {"Scope", "scopeName"}, {"Assignment", "assignment"}, {"Policies", "join(', ', properties.policyDefinitionReferenceIds || `[]`)"}, {"Category", "properties.exemptionCategory"},
		{"Expires", "properties.expiresOn"}, {"Owner", "properties.metadata.owner"}, {"Ticket", "properties.metadata.ticket"}},
}

func (a *App) policyList() *cobra.Command {
	var where policyScope
	var builtIn bool
	c := &cobra.Command{
		Use: "list [assignments|definitions|initiatives|exemptions]", Short: "List what is assigned, defined or exempted",
		Long: "Lists assignments (the default), definitions, initiatives or exemptions that hold at a scope or below it. Azure's own\n" +
			"definitions are shown with --built-in. Exemptions that end within two weeks are warned of.\n\n" + exitHelp,
		Example:   "  hallmark policy list\n  hallmark policy list definitions --built-in --query \"[?properties.metadata.category=='Compute'].name\"\n  hallmark policy list exemptions -g web",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"assignments", "definitions", "initiatives", "exemptions"},
		RunE: func(c *cobra.Command, arguments []string) error {
			kind := kindAssignments
			if len(arguments) > 0 {
				kind = policyKinds[arguments[0]]
			}
			return a.listPolicies(c.Context(), where, kind, builtIn)
		},
	}
	where.register(c)
	c.Flags().BoolVar(&builtIn, "built-in", false, "also Azure's own definitions")
	return c
}

func (a *App) listPolicies(ctx context.Context, where policyScope, kind string, builtIn bool) error {
	s, at, err := a.openAt(where)
	if err != nil {
		return err
	}
	filter := ""
	if defines := kind == kindDefinitions || kind == kindInitiatives; defines {
		if at = subscriptionOf(at); !builtIn && at != "" {
			filter = "policyType eq 'Custom'"
		}
	}
	items := []map[string]any{}
	err = s.eachPolicy(ctx, at, kind, filter, func(raw json.RawMessage, d policyDocument) error {
		item, err := decorated(raw, d)
		items = append(items, item)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.print(items, policyColumns[kind]...); err != nil {
		return err
	}
	if kind == kindExemptions {
		return s.warnOfExpiry(ctx, at)
	}
	return nil
}

// decorated is a document with what a table shows of it beside.
func decorated(raw json.RawMessage, d policyDocument) (map[string]any, error) {
	var item map[string]any
	if err := json.Unmarshal(raw, &item); err != nil {
		return nil, err
	}
	item["scopeName"] = shortScope(scopeOf(d.ID))
	if id := d.Properties.PolicyDefinitionID; id != "" {
		item["assigns"] = last(id)
	}
	if id := d.Properties.PolicyAssignmentID; id != "" {
		item["assignment"] = last(id)
	}
	return item, nil
}

func (a *App) policyShow() *cobra.Command {
	var where policyScope
	c := &cobra.Command{
		Use: "show NAME|ID", Short: "Show an assignment, an initiative, a definition or an exemption",
		Long:              "Shows the policy resource of that name or id: an assignment or exemption at the scope, or an initiative or definition there\nor above.\n\n" + exitHelp,
		Example:           "  hallmark policy show golden-images -o yaml\n  hallmark policy show golden --query properties.parameters",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAssignments,
		RunE: func(c *cobra.Command, arguments []string) error {
			return a.showPolicy(c.Context(), where, arguments[0])
		},
	}
	where.register(c)
	return c
}

func (a *App) showPolicy(ctx context.Context, where policyScope, name string) error {
	s, at, err := a.openAt(where)
	if err != nil {
		return err
	}
	raw, err := s.anyPolicy(ctx, at, name)
	if err != nil {
		return err
	}
	var d policyDocument
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	item, err := decorated(raw, d)
	if err != nil {
		return err
	}
	kind := kindAssignments
	for _, k := range policyKinds {
		if strings.Contains(strings.ToLower(d.ID), strings.ToLower(policyProvider+k+"/")) {
			kind = k
		}
	}
	return a.print(item, policyColumns[kind]...)
}

// anyPolicy reads the policy resource that a name means.
func (s *session) anyPolicy(ctx context.Context, at, name string) (raw json.RawMessage, err error) {
	if !strings.HasPrefix(name, "/") {
		for _, kind := range []string{kindAssignments, kindExemptions} {
			err := s.Get(ctx, policyID(at, kind, name), versionOf(kind), &raw)
			if !azure.IsNotFound(err) {
				return raw, err
			}
		}
		d, err := s.findDefinition(ctx, at, name)
		if err != nil {
			return nil, err
		}
		name = d.ID
	}
	version := apiPolicy
	if strings.Contains(strings.ToLower(name), strings.ToLower("/"+kindExemptions+"/")) {
		version = apiExemption
	}
	return raw, s.Get(ctx, name, cmp.Or(version, apiPolicy), &raw)
}

func versionOf(kind string) string {
	if kind == kindExemptions {
		return apiExemption
	}
	return apiPolicy
}
