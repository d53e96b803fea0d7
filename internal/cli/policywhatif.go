package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/golden"
	"hallmark.dev/hallmark/internal/policy/library"
)

type whatIfOptions struct {
	policyScope
	assignment, definition, with, teamTag, failOn string
	parameters, notScopes                         []string
	examples                                      int
}

func (a *App) policyWhatIf() *cobra.Command {
	var o whatIfOptions
	c := &cobra.Command{
		Use: "what-if --assignment FILE | --definition NAME|FILE", Short: "Say whom an assignment would hit, before anyone is hurt",
		Long: "Evaluates an assignment that nobody has made over the estate as it is, and says what it would flag, refuse and change, by\n" +
			"team, with examples. Nothing is stored.\n\n" +
			"FILE is an assignment as ARM has it: {properties: {policyDefinitionId, parameters, notScopes, …}}. Its policyDefinitionId is an id,\n" +
			"a name, or the path of a JSON file beside it; --with reads definitions that are not stored yet from a folder or archive.\n" +
			"With --definition no file is needed.\n\n" + exitHelp,
		Example: "  hallmark policy what-if --assignment golden-assignment.json\n" +
			"  hallmark policy what-if --definition golden-images --params maxVersionsBehind=0 --not-scope hallmark-build\n" +
			"  hallmark policy what-if --definition policies/no-public-ip.json --fail-on deny",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.whatIf(c.Context(), o) },
	}
	o.register(c)
	f := c.Flags()
	f.StringVar(&o.assignment, "assignment", "", "the assignment, as a JSON file")
	f.StringVar(&o.definition, "definition", "", "the definition or initiative: a name, an id, or a JSON file")
	f.StringVar(&o.with, "with", "", "a folder or archive of definitions that are not stored")
	f.StringArrayVar(&o.parameters, "params", nil, "a parameter: NAME=VALUE, or @FILE (repeat)")
	f.StringSliceVar(&o.notScopes, "not-scope", nil, "what the assignment would leave out: a scope's id or the name of a resource group (repeat)")
	f.StringVar(&o.teamTag, "team-tag", "team", "the tag that names a resource's team")
	f.IntVar(&o.examples, "examples", 3, "how many examples to show of each team")
	f.StringVar(&o.failOn, "fail-on", "none", "exit with 4 if anything would be hit: none, flag or deny")
	c.MarkFlagsOneRequired("assignment", "definition")
	c.MarkFlagsMutuallyExclusive("assignment", "definition")
	choices(c, "fail-on", "none", "flag", "deny")
	return c
}

type impact struct {
	Resources int `json:"resources"`
	Flagged   int `json:"flagged"`
	Denied    int `json:"denied"`
	Changed   int `json:"changed"`
	Deployed  int `json:"deployed"`
	Failed    int `json:"failed"`
}

type whatIfAnswer struct {
	Scope    string `json:"scope"`
	Enforced bool   `json:"enforced"`
	Total    impact `json:"total"`
	Policies []struct {
		ReferenceID  string `json:"policyDefinitionReferenceId,omitempty"`
		DefinitionID string `json:"policyDefinitionId"`
		Name         string `json:"displayName"`
		Problem      string `json:"problem,omitempty"`
		impact
	} `json:"policies"`
	Teams []struct {
		Team string `json:"team"`
		impact
		Examples []struct {
			ResourceID  string   `json:"resourceId"`
			ReferenceID string   `json:"policyDefinitionReferenceId,omitempty"`
			Policy      string   `json:"policy"`
			Effect      string   `json:"effect"`
			What        string   `json:"what"`
			Reasons     []string `json:"reasons"`
			Changes     []string `json:"changes,omitempty"`
		} `json:"examples"`
	} `json:"teams"`
}

func (a *App) whatIf(ctx context.Context, o whatIfOptions) error {
	if !slices.Contains([]string{"none", "flag", "deny"}, o.failOn) {
		return usage("--fail-on %q: want none, flag or deny", o.failOn)
	}
	doc, dir, err := o.document()
	if err != nil {
		return err
	}
	if o.scope == "" {
		o.scope, _ = doc["properties"].(map[string]any)["scope"].(string)
	}
	s, at, err := a.openAt(o.policyScope)
	if err != nil {
		return err
	}
	request, err := s.whatIfRequest(ctx, at, dir, doc, o)
	if err != nil {
		return err
	}
	var answer whatIfAnswer
	if err := s.Do(ctx, azure.Request{Method: http.MethodPost, Path: at + "/providers/Hallmark.Compliance/whatIf", APIVersion: apiHallmark, Body: request}, &answer); err != nil {
		return err
	}
	if a.output != "table" || a.query != "" {
		err = a.print(answer)
	} else {
		err = a.writeWhatIf(answer)
	}
	hit := map[string]int{"flag": answer.Total.Flagged + answer.Total.Failed, "deny": answer.Total.Denied}[o.failOn]
	if err == nil && hit > 0 {
		return &Error{Code: ExitFindings, Err: fmt.Errorf("%d resources would be hit", hit)}
	}
	return err
}

// document is the assignment, and the folder that files in it are named from.
func (o whatIfOptions) document() (doc map[string]any, dir string, err error) {
	if o.assignment == "" {
		return map[string]any{"properties": map[string]any{"policyDefinitionId": o.definition}}, ".", nil
	}
	if err := readDocument(o.assignment, &doc); err != nil {
		return nil, "", fmt.Errorf("read the assignment: %w", err)
	}
	if _, ok := doc["properties"].(map[string]any); !ok {
		return nil, "", usage("%s is no assignment: it needs properties with a policyDefinitionId", o.assignment)
	}
	return doc, filepath.Dir(o.assignment), nil
}

// whatIfRequest finds the definitions, wherever they are, and puts the flags over the
// document.
func (s *session) whatIfRequest(ctx context.Context, at, dir string, doc map[string]any, o whatIfOptions) (map[string]any, error) {
	properties := doc["properties"].(map[string]any)
	name, _ := properties["policyDefinitionId"].(string)
	if name == "" {
		return nil, usage("the assignment names no policyDefinitionId")
	}
	supposed, assigned, err := s.supposed(at, dir, name, o.with)
	if err != nil {
		return nil, err
	}
	if assigned == nil {
		if assigned, err = s.findDefinition(ctx, at, name); err != nil {
			return nil, err
		}
	}
	properties["policyDefinitionId"] = assigned.ID
	values, err := parameterValues(o.parameters, assigned.Properties.Parameters)
	if err != nil {
		return nil, err
	}
	given, _ := properties["parameters"].(map[string]any)
	if given == nil {
		given = map[string]any{}
	}
	maps.Copy(given, values)
	properties["parameters"] = given
	if len(o.notScopes) > 0 {
		properties["notScopes"] = s.groups(o.notScopes)
	}
	return map[string]any{"assignment": doc, "definitions": supposed, "teamTag": o.teamTag, "examples": o.examples}, nil
}

// supposed are definitions that are not stored: of --with, of the file that the
// assignment names, or Hallmark's own; and, where one of them is what is assigned, that.
func (s *session) supposed(at, dir, name, with string) (out []any, assigned *policyDocument, err error) {
	var sources []string
	if with != "" {
		sources = append(sources, with)
	}
	file := filepath.Join(dir, name)
	switch {
	case strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, "/subscriptions/"):
		if filepath.IsAbs(name) {
			file = name
		}
		sources = append(sources, file)
	case with == "" && (name == golden.Images || name == golden.Azure):
		sources = append(sources, name)
	}
	im := &importing{session: s, at: map[string]string{}, scope: func(library.Item) string { return subscriptionOf(at) }}
	var items []library.Item
	for _, source := range sources {
		more, err := s.app.readLibrary(source, true)
		if err != nil {
			return nil, nil, err
		}
		items = append(items, more...)
	}
	for _, i := range items {
		im.at[key(i.Kind, i.Name)] = im.scope(i)
	}
	out = []any{}
	for _, i := range items {
		body, err := im.moved(i)
		if err != nil {
			return nil, nil, err
		}
		id := policyID(im.scope(i), string(i.Kind), i.Name)
		out = append(out, map[string]any{"id": id, "name": i.Name, "properties": body.Properties})
		if strings.EqualFold(i.Name, name) || i.File == file || strings.EqualFold(id, name) {
			if assigned, err = parsedItem(id, i); err != nil {
				return nil, nil, err
			}
		}
	}
	return out, assigned, nil
}

func parsedItem(id string, i library.Item) (*policyDocument, error) {
	d := &policyDocument{}
	if err := json.Unmarshal([]byte(i.Text), d); err != nil {
		return nil, fmt.Errorf("%s: %w", i.File, err)
	}
	d.ID = id
	return d, nil
}

func (a *App) writeWhatIf(x whatIfAnswer) error {
	note := ""
	if !x.Enforced {
		note = " (not enforced: nothing would be refused or changed, only recorded)"
	}
	fmt.Fprintf(a.Out, "At %s%s, of %d resources that the policies look at:\n  %d would be non-compliant\n  %d could no longer be changed as they are\n  %d would get other values\n",
		shortScope(x.Scope), note, x.Total.Resources, x.Total.Flagged, x.Total.Denied, x.Total.Changed)
	if x.Total.Deployed > 0 {
		fmt.Fprintf(a.Out, "  %d would get something deployed\n", x.Total.Deployed)
	}
	if x.Total.Failed > 0 {
		fmt.Fprintf(a.Out, "  %d cannot be evaluated\n", x.Total.Failed)
	}
	numbers := []column{{"Looked at", "resources"}, {"Flagged", "flagged"}, {"Denied", "denied"}, {"Changed", "changed"}, {"Errors", "failed"}}
	fmt.Fprintln(a.Out)
	if err := a.print(x.Policies, append([]column{{"Policy", "policyDefinitionReferenceId || displayName"}}, append(numbers, column{"Problem", "problem"})...)...); err != nil {
		return err
	}
	fmt.Fprintln(a.Out)
	if err := a.print(x.Teams, append([]column{{"Team", "team || '(none)'"}}, numbers...)...); err != nil {
		return err
	}
	for _, t := range x.Teams {
		for i, e := range t.Examples {
			if i == 0 {
				fmt.Fprintf(a.Out, "\n%s\n", cmp.Or(t.Team, "(none)"))
			}
			fmt.Fprintf(a.Out, "  %-6s  %s  %s  %s\n", e.What, last(e.ResourceID), cmp.Or(e.ReferenceID, e.Policy), strings.Join(append(slices.Clone(e.Changes), e.Reasons...), "; "))
		}
	}
	return nil
}
