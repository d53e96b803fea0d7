package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/epac"
)

type exportOptions struct {
	policyScope
	selector string
	force    bool
}

func (a *App) policyExport() *cobra.Command {
	var o exportOptions
	c := &cobra.Command{
		Use: "export DIR", Short: "Write definitions, initiatives, assignments and exemptions as Enterprise Policy as Code has them",
		Long: "Writes the custom definitions and initiatives of a scope, and the assignments and exemptions at and below it, into a folder in\n" +
			"the layout of Enterprise Policy as Code (EPAC): policyDefinitions, policySetDefinitions, policyAssignments, policyExemptions\n" +
			"and global-settings.jsonc. Azure's own definitions are named, not copied. Definitions exported so can be imported again.\n\n" + exitHelp,
		Example: "  hallmark policy export policies/ --selector epac-prod",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, arguments []string) error { return a.export(c.Context(), arguments[0], o) },
	}
	o.register(c)
	c.Flags().StringVar(&o.selector, "selector", "hallmark", "the name of EPAC's environment (pacSelector)")
	c.Flags().BoolVar(&o.force, "force", false, "write into a folder that is not empty")
	return c
}

func (a *App) export(ctx context.Context, dir string, o exportOptions) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 && !o.force {
		return usage("%s is not empty; choose another folder, or --force to write beside what is there", dir)
	}
	s, at, err := a.openAt(o.policyScope)
	if err != nil {
		return err
	}
	estate, err := s.policyEstate(ctx, at)
	if err != nil {
		return err
	}
	files, notes, err := epac.Export(estate, epac.Options{Selector: o.selector, Tenant: s.Tenant, Root: subscriptionOf(at), Location: s.Location, Owner: "hallmark-" + s.Subscription})
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
		if err := os.WriteFile(name, []byte(f.Text), 0o644); err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
	}
	for _, n := range notes {
		a.progress("note: %s", n)
	}
	return a.print(map[string]int{"definitions": len(estate.Definitions), "initiatives": len(estate.Initiatives), "assignments": len(estate.Assignments), "exemptions": len(estate.Exemptions)},
		column{"Definitions", "definitions"}, column{"Initiatives", "initiatives"}, column{"Assignments", "assignments"}, column{"Exemptions", "exemptions"})
}

// policyEstate reads what is exported: the custom definitions that a scope can use, and
// what is assigned and exempted at it and below.
func (s *session) policyEstate(ctx context.Context, at string) (e epac.Estate, err error) {
	for kind, into := range map[string]*[]json.RawMessage{kindDefinitions: &e.Definitions, kindInitiatives: &e.Initiatives, kindAssignments: &e.Assignments, kindExemptions: &e.Exemptions} {
		scope, keep := at, func(d policyDocument) bool {
			return strings.HasPrefix(strings.ToLower(scopeOf(d.ID))+"/", strings.ToLower(at)+"/")
		}
		if kind == kindDefinitions || kind == kindInitiatives {
			scope, keep = subscriptionOf(at), func(d policyDocument) bool { return strings.EqualFold(d.Properties.PolicyType, "Custom") }
		}
		err := s.eachPolicy(ctx, scope, kind, "", func(raw json.RawMessage, d policyDocument) error {
			if keep(d) {
				*into = append(*into, raw)
			}
			return nil
		})
		if err != nil {
			return e, err
		}
	}
	return e, nil
}
