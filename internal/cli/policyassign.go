package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

type assignOptions struct {
	policyScope
	name, display, description, mode, identity, location, version string
	parameters, notScopes, messages                               []string
	noRoles                                                       bool
}

func (a *App) policyAssign() *cobra.Command {
	var o assignOptions
	c := &cobra.Command{
		Use: "assign DEFINITION|INITIATIVE", Short: "Put a definition or an initiative in force at a scope",
		Long: "Assigns a definition or an initiative, by its name, display name or id. Assigning again under the same name changes the\n" +
			"assignment. `hallmark policy what-if` says beforehand whom it will hit.\n\n" +
			"What modifies or deploys acts as the assignment's managed identity. If the policies need one, the assignment gets its own\n" +
			"unless --identity names another, and the identity gets the roles that the policies name, at the assignment's scope.\n\n" +
			"A parameter is NAME=VALUE, where VALUE is JSON or plain text, or @FILE with a JSON object of values.\n\n" + exitHelp,
		Example: "  hallmark policy assign golden-images --name golden --params maxVersionsBehind=0 --not-scope hallmark-build \\\n" +
			"      --description \"Use golden images: https://wiki.example.com/golden-images\"\n" +
			"  hallmark policy assign golden-images -g web --enforcement-mode DoNotEnforce\n" +
			"  hallmark policy assign \"Allowed locations\" --params 'listOfAllowedLocations=[\"eastus\"]' --message \"Only eastus: ask the platform team.\"",
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(c *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
			names, _ := a.completeKind(c, kindInitiatives)
			more, directive := a.completeKind(c, kindDefinitions)
			return append(names, more...), directive
		},
		RunE: func(c *cobra.Command, arguments []string) error { return a.assign(c.Context(), arguments[0], o) },
	}
	o.register(c)
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "the assignment's name (default: the definition's, or made of its display name)")
	f.StringVar(&o.display, "display-name", "", "what people call it")
	f.StringVar(&o.description, "description", "", "why, and where to read more; shown to whoever is refused")
	f.StringArrayVar(&o.parameters, "params", nil, "a parameter: NAME=VALUE, or @FILE (repeat)")
	f.StringSliceVar(&o.notScopes, "not-scope", nil, "what the assignment leaves out: a scope's id or the name of a resource group (repeat)")
	f.StringVar(&o.mode, "enforcement-mode", "Default", "Default, or DoNotEnforce, which only records")
	f.StringVar(&o.identity, "identity", "", "system, or the id of a user-assigned identity: who remediates (default: system if the policies need one)")
	f.BoolVar(&o.noRoles, "no-roles", false, "do not give the identity the roles that the policies name")
	f.StringVarP(&o.location, "location", "l", "", "where the identity is kept (default: the context's)")
	f.StringArrayVar(&o.messages, "message", nil, "what to tell whoever does not comply: TEXT, or REFERENCE=TEXT for one policy of an initiative (repeat)")
	f.StringVar(&o.version, "definition-version", "", "such as 1.*.* (default: the newest major version)")
	choices(c, "enforcement-mode", "Default", "DoNotEnforce")
	choices(c, "identity", "system")
	return c
}

func (a *App) assign(ctx context.Context, definition string, o assignOptions) error {
	s, at, err := a.openAt(o.policyScope)
	if err != nil {
		return err
	}
	d, err := s.findDefinition(ctx, at, definition)
	if err != nil {
		return err
	}
	body, err := s.assignment(d, o)
	if err != nil {
		return err
	}
	id := policyID(at, kindAssignments, cmp.Or(o.name, assignmentName(at, d)))
	needs, err := s.remedies(ctx, body)
	if err != nil {
		return err
	}
	if needs.NeedsIdentity() && o.identity == "" {
		if err := s.identify(ctx, id, o, body); err != nil {
			return err
		}
	}
	var raw json.RawMessage
	if err := s.Put(ctx, id, apiPolicy, body, &raw); err != nil {
		return err
	}
	if err := a.printPolicy(raw, kindAssignments); err != nil || o.noRoles {
		return err
	}
	return s.entitle(ctx, at, raw, needs.Roles)
}

// assignmentName is the definition's name or, where nobody chose that, its display name
// as a name. Names at management groups are short.
func assignmentName(scope string, d *policyDocument) string {
	if !isGUID(d.Name) || d.Properties.DisplayName == "" {
		return d.Name
	}
	most := 64
	if strings.Contains(strings.ToLower(scope), "/managementgroups/") {
		most = 24
	}
	words := strings.FieldsFunc(strings.ToLower(d.Properties.DisplayName), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	name := strings.Join(words, "-")
	return cmp.Or(strings.TrimRight(name[:min(len(name), most)], "-"), d.Name)
}

func (a *App) printPolicy(raw json.RawMessage, kind string) error {
	var d policyDocument
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	item, err := decorated(raw, d)
	if err != nil {
		return err
	}
	return a.print(item, policyColumns[kind]...)
}

// assignment is the document that the flags ask for.
func (s *session) assignment(d *policyDocument, o assignOptions) (map[string]any, error) {
	values, err := parameterValues(o.parameters, d.Properties.Parameters)
	if err != nil {
		return nil, err
	}
	properties := map[string]any{"policyDefinitionId": d.ID, "displayName": cmp.Or(o.display, d.Properties.DisplayName, d.Name),
		"description": o.description, "enforcementMode": o.mode, "parameters": values, "notScopes": s.groups(o.notScopes), "nonComplianceMessages": messages(o.messages)}
	if o.version != "" {
		properties["definitionVersion"] = o.version
	}
	body := map[string]any{"properties": properties}
	if o.identity != "" {
		s.actAs(body, o.identity, o.location)
	}
	return body, nil
}

// groups makes ids of the names of resource groups.
func (s *session) groups(names []string) []string {
	ids := []string{}
	for _, n := range names {
		if !strings.HasPrefix(n, "/") {
			n = s.subscriptionID() + "/resourceGroups/" + n
		}
		ids = append(ids, n)
	}
	return ids
}

func messages(texts []string) []map[string]string {
	out := []map[string]string{}
	for _, t := range texts {
		m := map[string]string{"message": t}
		if ref, text, ok := strings.Cut(t, "="); ok && !strings.ContainsAny(ref, " \t:/?") {
			m = map[string]string{"message": text, "policyDefinitionReferenceId": ref}
		}
		out = append(out, m)
	}
	return out
}

// parameterValues reads NAME=VALUE and @FILE into ARM's shape. A value is JSON, or text
// where it is none or where the definition wants text.
func parameterValues(given []string, declared map[string]policyArgument) (map[string]any, error) {
	out := map[string]any{}
	for _, g := range given {
		if file, ok := strings.CutPrefix(g, "@"); ok {
			if err := parametersFromFile(file, out); err != nil {
				return nil, err
			}
			continue
		}
		name, text, ok := strings.Cut(g, "=")
		if !ok {
			return nil, usage("--params %q: want NAME=VALUE or @FILE", g)
		}
		out[name] = map[string]any{"value": parameterValue(text, typeOf(declared, name))}
	}
	return out, nil
}

func parametersFromFile(name string, into map[string]any) error {
	values, err := parametersFile(name)
	if err != nil {
		return fmt.Errorf("--params @%s: %w", name, err)
	}
	for i := range values.Len() {
		into[values.Key(i)] = map[string]any{"value": json.RawMessage(values.At(i).JSON())}
	}
	return nil
}

func typeOf(declared map[string]policyArgument, name string) string {
	for n, p := range declared {
		if strings.EqualFold(n, name) {
			return strings.ToLower(p.Type)
		}
	}
	return ""
}

func parameterValue(text, kind string) any {
	if kind != "string" && kind != "datetime" && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	if kind == "array" {
		return strings.Split(text, ",")
	}
	return text
}

func (a *App) policyUnassign() *cobra.Command {
	var where policyScope
	c := &cobra.Command{
		Use: "unassign ASSIGNMENT", Short: "Delete an assignment, and its exemptions with it",
		Long:              "Deletes an assignment by its name or id. Its exemptions go with it; the definition stays.\n\n" + exitHelp,
		Example:           "  hallmark policy unassign golden",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAssignments,
		RunE: func(c *cobra.Command, arguments []string) error {
			s, at, err := a.openAt(where)
			if err != nil {
				return err
			}
			d, err := s.findAssignment(c.Context(), at, arguments[0])
			if err != nil {
				return err
			}
			return s.Delete(c.Context(), d.ID, apiPolicy)
		},
	}
	where.register(c)
	return c
}

type exemptOptions struct {
	policyScope
	assignment, name, category, expires, owner, ticket, display, description string
	policies                                                                 []string
}

func (a *App) policyExempt() *cobra.Command {
	var o exemptOptions
	c := &cobra.Command{
		Use: "exempt [RESOURCE]", Short: "Exempt a resource, a group or a subscription from an assignment for a time",
		Long: "Exempts a scope from an assignment, or from some policies of it. A waiver accepts the risk; mitigated means that it is met in\n" +
			"another way. An exemption has an owner and an end: --expires is a date (2027-01-31), a time span (30d), or never.\n" +
			"RESOURCE is an id or the name of a machine in the group of the context; without it, the exemption is for --scope or the\n" +
			"group -g.\n\n" + exitHelp,
		Example: "  hallmark policy exempt rogue-1 --assignment golden --policy approved-image --category Waiver --expires 30d --owner ann@contoso.com --ticket CHG-1234",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			resource := ""
			if len(arguments) > 0 {
				resource = arguments[0]
			}
			return a.exempt(c.Context(), resource, o)
		},
	}
	o.register(c)
	f := c.Flags()
	f.StringVar(&o.assignment, "assignment", "", "the assignment's name or id")
	f.StringSliceVar(&o.policies, "policy", nil, "only these policies of the initiative, by their reference ids (repeat)")
	f.StringVar(&o.category, "category", "Waiver", "Waiver or Mitigated")
	f.StringVar(&o.expires, "expires", "", "when it ends: a date, a time, a span such as 30d or 12h, or never")
	f.StringVar(&o.owner, "owner", "", "who answers for it")
	f.StringVar(&o.ticket, "ticket", "", "where it was agreed")
	f.StringVar(&o.name, "name", "", "the exemption's name (default: the assignment's, with the policies)")
	f.StringVar(&o.display, "display-name", "", "what people call it")
	f.StringVar(&o.description, "description", "", "why")
	for _, required := range []string{"assignment", "expires", "owner"} {
		_ = c.MarkFlagRequired(required)
	}
	choices(c, "category", "Waiver", "Mitigated")
	_ = c.RegisterFlagCompletionFunc("assignment", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.completeKind(c, kindAssignments)
	})
	return c
}

func (a *App) policyUnexempt() *cobra.Command {
	var where policyScope
	c := &cobra.Command{
		Use: "unexempt EXEMPTION", Short: "End an exemption now",
		Long:    "Deletes an exemption by its id, or by its name if only one at or below the scope has it.\n\n" + exitHelp,
		Example: "  hallmark policy unexempt golden-approved-image",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.completeKind(c, kindExemptions)
		},
		RunE: func(c *cobra.Command, arguments []string) error {
			s, at, err := a.openAt(where)
			if err != nil {
				return err
			}
			id := arguments[0]
			if !strings.HasPrefix(id, "/") {
				if id, err = s.exemptionNamed(c.Context(), at, id); err != nil {
					return err
				}
			}
			return s.Delete(c.Context(), id, apiExemption)
		},
	}
	where.register(c)
	return c
}

// exemptionNamed is the id of the only exemption of a name at or below a scope.
func (s *session) exemptionNamed(ctx context.Context, at, name string) (string, error) {
	var found []string
	err := s.eachPolicy(ctx, at, kindExemptions, "", func(_ json.RawMessage, d policyDocument) error {
		if strings.EqualFold(d.Name, name) {
			found = append(found, d.ID)
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", &Error{Code: ExitNothing, Err: fmt.Errorf("there is no exemption called %q at %s", name, shown(at)), Hint: "hallmark policy list exemptions shows those there are"}
	case len(found) > 1:
		return "", usage("%d exemptions are called %q; name one by its id: %s", len(found), name, strings.Join(found, ", "))
	}
	return found[0], nil
}

func (a *App) exempt(ctx context.Context, resource string, o exemptOptions) error {
	s, at, err := a.openAt(o.policyScope)
	if err != nil {
		return err
	}
	expires, err := a.expiry(o.expires)
	if err != nil {
		return err
	}
	d, err := s.findAssignment(ctx, at, o.assignment)
	if err != nil {
		return err
	}
	if resource != "" {
		if at, err = s.resourceNamed(ctx, resource); err != nil {
			return err
		}
	}
	metadata := map[string]string{"owner": o.owner}
	if o.ticket != "" {
		metadata["ticket"] = o.ticket
	}
	properties := map[string]any{"policyAssignmentId": d.ID, "policyDefinitionReferenceIds": append([]string{}, o.policies...), "exemptionCategory": o.category,
		"displayName": o.display, "description": o.description, "metadata": metadata}
	if !expires.IsZero() {
		properties["expiresOn"] = expires.UTC().Format(time.RFC3339)
	}
	name := cmp.Or(o.name, strings.Join(append([]string{d.Name}, o.policies...), "-"))
	var raw json.RawMessage
	if err := s.Put(ctx, policyID(at, kindExemptions, name[:min(len(name), 64)]), apiExemption, map[string]any{"properties": properties}, &raw); err != nil {
		return err
	}
	return a.printPolicy(raw, kindExemptions)
}

// expiry reads when an exemption ends; zero: never.
func (a *App) expiry(text string) (time.Time, error) {
	if text == "never" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return a.inFuture(text, t)
		}
	}
	span, err := parseSpan(text)
	if err != nil {
		return time.Time{}, usage("--expires %q: want a date such as 2027-01-31, a time, a span such as 30d or 12h, or never", text)
	}
	return a.inFuture(text, a.Now().Add(span).Truncate(time.Second))
}

func (a *App) inFuture(text string, t time.Time) (time.Time, error) {
	if !t.After(a.Now()) {
		return t, usage("--expires %q is in the past", text)
	}
	return t, nil
}

// parseSpan reads days as well as what Go reads.
func parseSpan(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err != nil || fmt.Sprint(n) != days || n < 0 || n > 36500 {
			return 0, errors.New("no number of days")
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

// resourceNamed is a resource's id: as given, or of the machine, or of what else in the
// group has the name.
func (s *session) resourceNamed(ctx context.Context, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return strings.TrimRight(name, "/"), nil
	}
	id := s.resource(typeVM, name)
	err := s.Get(ctx, id, apiCompute, nil)
	if !azure.IsNotFound(err) {
		return id, err
	}
	items, err := s.list(ctx, s.groupID()+"/resources", apiResources, nil)
	if err != nil {
		return "", err
	}
	for _, item := range items {
		var d struct{ ID, Name string }
		if json.Unmarshal(item, &d) == nil && strings.EqualFold(d.Name, name) {
			return d.ID, nil
		}
	}
	return "", &Error{Code: ExitNothing, Err: fmt.Errorf("there is no resource called %q in the group %s", name, s.Group), Hint: "name it by its id, or its group with -g"}
}

// soon is how long before its end an exemption is warned of.
const soon = 14 * 24 * time.Hour

// warnOfExpiry says on stderr which exemptions end soon.
func (s *session) warnOfExpiry(ctx context.Context, scope string) error {
	now := s.app.Now()
	return s.eachPolicy(ctx, scope, kindExemptions, "", func(_ json.RawMessage, d policyDocument) error {
		end, err := time.Parse(time.RFC3339, d.Properties.ExpiresOn)
		if err != nil || end.Before(now) || end.After(now.Add(soon)) {
			return nil
		}
		owner, _ := d.Properties.Metadata["owner"].(string)
		s.app.progress("warning: the exemption %s of %s from %s ends on %s (owner: %s)", d.Name, shortScope(scopeOf(d.ID)), last(d.Properties.PolicyAssignmentID),
			end.Format(time.DateOnly), cmp.Or(owner, "nobody"))
		return nil
	})
}

// readDocument reads a JSON file.
func readDocument(name string, into any) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
