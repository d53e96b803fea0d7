package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/azure"
	policycheck "hallmark.dev/hallmark/internal/policy/check"
)

type policyCheckFlags struct {
	policies, library                              []string
	scope, parameters, policyParameters            string
	subscription, group, location, source, aliases string
	format, sarif, junit, failOn                   string
	changed                                        bool
}

// newPolicyCheck is hallmark policy check: what the cloud would say about what does
// not exist yet.
func (a *App) newPolicyCheck() *cobra.Command {
	var f policyCheckFlags
	c := &cobra.Command{
		Use:   "check FILE|DIR... --policy FILE|DIR",
		Short: "Evaluate policies over a template, a Terraform plan or documents, before anything is deployed",
		Long: `Evaluate policies over what does not exist yet: an ARM template (Bicep compiles to one) with its
parameters, a Terraform plan as terraform show -json prints it, or a folder of resource documents.

Definitions and initiatives that no assignment refers to count as assigned everywhere. With --scope
the assignments that are in force at a scope of the endpoint are evaluated, too.

What is not known before a deployment is never taken for compliant: where it decides, the finding is
"unknown" and names the field.

--fail-on takes, with commas between: deny, audit (also auditIfNotExists, and deny that is not
enforced), change (modify, append, deployIfNotExists), unknown, error, any, none.

` + exitHelp,
		Example: `  terraform show -json plan.out > plan.json
  hallmark policy check plan.json --policy policies/ --sarif findings.sarif
  hallmark policy check main.json --parameters main.parameters.json --policy policies/ --fail-on deny,unknown
  hallmark policy check documents/ --scope /subscriptions/ID --junit results.xml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.policyCheck(c, args, f) },
	}
	flags := c.Flags()
	flags.StringSliceVar(&f.policies, "policy", nil, "definitions, initiatives, assignments and exemptions: files, folders, .tar.gz")
	flags.StringSliceVar(&f.library, "library", nil, "definitions that are used only where something refers to them, such as Azure's public ones")
	flags.StringVar(&f.scope, "scope", "", "evaluate what is assigned at this scope of the endpoint")
	flags.StringVar(&f.parameters, "parameters", "", "a template's parameters (default: NAME.parameters.json beside NAME.json)")
	flags.StringVar(&f.policyParameters, "policy-parameters", "", "values for the parameters of definitions that nothing assigns")
	flags.StringVar(&f.subscription, "subscription", "", "the id of the subscription that will be deployed to (default: of --scope)")
	flags.StringVarP(&f.group, "resource-group", "g", "", "the resource group of resources that name none (default: of --scope)")
	flags.StringVar(&f.location, "location", "", "the resource group's location, for templates that ask for it")
	flags.StringVar(&f.source, "source", "", "where the .tf files of a plan are (default: beside the plan)")
	flags.StringVar(&f.aliases, "aliases", "", "a provider list in Azure's format, laid over the public aliases")
	flags.BoolVar(&f.changed, "changed", false, "leave out resources that a plan does not change")
	flags.StringVar(&f.format, "format", "", "what to print: "+strings.Join(policycheck.Formats(), ", ")+" (default: what --output says)")
	flags.StringVar(&f.sarif, "sarif", "", "also write the findings to this file as SARIF 2.1.0")
	flags.StringVar(&f.junit, "junit", "", "also write the results to this file as JUnit XML")
	flags.StringVar(&f.failOn, "fail-on", policycheck.DefaultFailOn, "exit with 4 when there is a finding of these: "+strings.Join(policycheck.FailOnWords(), ", "))
	return c
}

func (a *App) policyCheck(c *cobra.Command, args []string, f policyCheckFlags) error {
	failOn, err := policycheck.ParseFailOn(f.failOn)
	if err != nil {
		return usage("%w", err)
	}
	if len(f.policies) == 0 && f.scope == "" {
		return usage("which policies? pass --policy with files or folders, or --scope")
	}
	report, err := a.checked(c.Context(), args, f)
	if err != nil {
		return err
	}
	if err := a.writeCheck(report, f); err != nil {
		return err
	}
	failing := 0
	for i := range report.Findings {
		if failOn.Fails(&report.Findings[i]) {
			failing++
		}
	}
	if failing > 0 {
		return &Error{Code: ExitFindings, Err: fmt.Errorf("%d of %d findings are what --fail-on names (%s)", failing, report.Reported(), f.failOn)}
	}
	return nil
}

func (a *App) checked(ctx context.Context, args []string, f policyCheckFlags) (*policycheck.Report, error) {
	table, err := policyAliases(f.aliases)
	if err != nil {
		return nil, err
	}
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	in, err := policycheck.Read(args, o)
	if err != nil {
		return nil, err
	}
	if f.changed {
		in.OnlyChanges()
	}
	p := policycheck.Policies{Files: f.policies, Library: f.library, Aliases: table, Subscriptions: in.Subscriptions()}
	if p.Parameters, err = parametersFile(f.policyParameters); err != nil {
		return nil, err
	}
	if f.scope != "" {
		if p.Server, err = a.policiesAt(ctx, f.scope); err != nil {
			return nil, err
		}
	}
	rules, err := policycheck.Load(ctx, p)
	if err != nil {
		return nil, err
	}
	return rules.Check(in, a.Now()), nil
}

// options take from the scope where resources will live, unless flags say it.
func (f policyCheckFlags) options() (o policycheck.Options, err error) {
	o = policycheck.Options{Source: f.source, Location: f.location, Place: policycheck.Place{Subscription: f.subscription, ResourceGroup: f.group}}
	if f.scope != "" {
		scope, err := arm.ParseID(f.scope)
		if err != nil {
			return o, usage("--scope: %w", err)
		}
		if o.Place.Subscription == "" {
			o.Place.Subscription = scope.Subscription()
		}
		if o.Place.ResourceGroup == "" {
			o.Place.ResourceGroup = scope.ResourceGroup()
		}
	}
	if f.parameters != "" {
		o.Parameters, err = parametersFile(f.parameters)
	}
	if err != nil || o.Place.Subscription != "" {
		return o, err
	}
	found, err := policycheck.AssignedSubscriptions(f.policies)
	if len(found) > 1 {
		return o, usage("the assignments lie in several subscriptions; pass --subscription to say which one will be deployed to")
	}
	if len(found) == 1 {
		o.Place.Subscription = found[0]
	}
	return o, err
}

func (a *App) writeCheck(report *policycheck.Report, f policyCheckFlags) error {
	info := policycheck.Info{Version: a.Version}
	for name, format := range map[string]string{f.sarif: "sarif", f.junit: "junit"} {
		if name == "" {
			continue
		}
		err := writeFile(name, func(w io.Writer) error { return policycheck.Write(w, format, report, info) })
		if err != nil {
			return err
		}
	}
	format := f.format
	if format == "" && a.query == "" && (a.output == "table" || a.output == "json") {
		format = a.output
	}
	if format != "" {
		return policycheck.Write(a.Out, format, report, info)
	}
	return a.print(report.Findings, column{"State", "state"}, column{"Effect", "effect"}, column{"File", "file"}, column{"Line", "line"}, column{"Resource", "resource"}, column{"Policy", "policy"})
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// policiesAt are the assignments in force at a scope, with their definitions and
// exemptions.
func (a *App) policiesAt(ctx context.Context, at string) ([]json.RawMessage, error) {
	client, c, err := a.connect()
	if err != nil {
		return nil, err
	}
	s := &session{Client: client, Context: c, app: a}
	filter := url.Values{"$filter": {"atScope()"}}
	assignments, err := s.list(ctx, at+"/providers/Microsoft.Authorization/policyAssignments", apiPolicy, filter)
	if err != nil {
		return nil, fmt.Errorf("the assignments at %s: %w", at, err)
	}
	exemptions, err := s.list(ctx, at+"/providers/Microsoft.Authorization/policyExemptions", "2022-07-01-preview", filter)
	if err != nil && !azure.IsNotFound(err) {
		return nil, fmt.Errorf("the exemptions at %s: %w", at, err)
	}
	all := append(assignments, exemptions...)
	for seen, next := map[string]bool{}, named(assignments, "properties.policyDefinitionId"); len(next) > 0; {
		id := next[0]
		next = next[1:]
		if seen[strings.ToLower(id)] {
			continue
		}
		seen[strings.ToLower(id)] = true
		var body json.RawMessage
		if err := s.Get(ctx, id, apiPolicy, &body); err != nil {
			return nil, fmt.Errorf("the policy %s: %w", id, err)
		}
		all = append(all, body)
		var set struct {
			Properties struct {
				PolicyDefinitions []struct{ PolicyDefinitionID string }
			}
		}
		if err := json.Unmarshal(body, &set); err != nil {
			return nil, fmt.Errorf("the policy %s: %w", id, err)
		}
		for _, m := range set.Properties.PolicyDefinitions {
			next = append(next, m.PolicyDefinitionID)
		}
	}
	return all, nil
}

func named(documents []json.RawMessage, path string) []string {
	var ids []string
	for _, d := range documents {
		if id := arm.GetString(d, path); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}
