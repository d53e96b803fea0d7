package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/audit"
)

type auditOptions struct {
	scope
	format, failOn, team string
	galleries            []string
	current              int
	disks                bool
}

func (a *App) auditCommand() *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use: "audit [FILE…|-]", Short: "Say of every machine which image it runs, in what state that is, and what to do",
		Long: "Audits the endpoint's subscription, or, with files, an estate that Hallmark does not run: what `az vm list`, `az vmss list`,\n" +
			"`az disk list`, `az image list` and `az sig image-version list` print, in any number of files; - reads standard input.\n\n" + exitHelp,
		Example: "  hallmark audit\n  hallmark audit --format html > audit.html\n  az vm list | hallmark audit - --fail-on non-compliant",
		RunE:    func(c *cobra.Command, files []string) error { return a.audit(c.Context(), files, o) },
	}
	o.register(c)
	flags := c.Flags()
	flags.StringVar(&o.format, "format", "", "the report's format: "+strings.Join(audit.Formats(), ", ")+" (default: what --output says)")
	flags.StringVar(&o.failOn, "fail-on", "", "exit with 4 when there is a finding of these (default non-compliant): "+strings.Join(audit.FailOnWords(), ", "))
	flags.StringVar(&o.team, "team-tag", "team", "the tag that names a resource's team")
	flags.StringSliceVar(&o.galleries, "gallery", nil, "count only images of these galleries as approved")
	flags.IntVar(&o.current, "current", 0, "how many of the newest versions count as approved (default: what each version's tag says)")
	flags.BoolVar(&o.disks, "all-disks", false, "report attached disks, too")
	return c
}

func (a *App) audit(ctx context.Context, files []string, o auditOptions) error {
	failOn, err := audit.ParseFailOn(o.failOn)
	if err != nil {
		return usage("%w", err)
	}
	estate := audit.NewEstate(audit.Options{
		Now: a.Now(), TeamTag: o.team, Galleries: o.galleries, Current: o.current, AllDisks: o.disks, Version: a.Version,
	})
	if len(files) > 0 {
		err = a.readEstate(estate, files)
	} else {
		err = a.fetchEstate(ctx, estate, o.scope)
	}
	if err != nil {
		return err
	}
	report := estate.Report()
	if err := a.writeReport(report, o.format); err != nil {
		return err
	}
	if code := audit.ExitCode(report, failOn); code != ExitOK {
		return &Error{Code: code, Err: fmt.Errorf("%d of %d findings do not comply", report.Summary.NonCompliant, report.Summary.Total)}
	}
	return nil
}

// writeReport writes the report; --query and the formats of other commands work
// on its JSON.
func (a *App) writeReport(report *audit.Report, format string) error {
	if format == "" && a.query == "" && (a.output == "table" || a.output == "json") {
		format = a.output
	}
	if format != "" {
		return audit.Write(a.Out, format, report)
	}
	findings := []audit.Finding{}
	for f := range report.Findings {
		findings = append(findings, f)
	}
	return a.print(findings, column{"Name", "name"}, column{"ResourceGroup", "resourceGroup"}, column{"Image", "image"}, column{"State", "state"}, column{"Verdict", "verdict"}, column{"Reason", "reason"})
}

func (a *App) readEstate(estate *audit.Estate, files []string) error {
	for _, name := range files {
		in := a.In
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return fmt.Errorf("read the estate: %w", err)
			}
			defer f.Close()
			in = f
		}
		err := audit.ReadDocuments(in, func(document json.RawMessage) error {
			estate.Add(document, name)
			return nil
		})
		if err != nil {
			return &Error{Code: ExitUsage, Err: fmt.Errorf("%s: %w", name, err), Hint: "it has to be what az prints with --output json"}
		}
	}
	return nil
}

// auditedTypes are what an estate is made of, beside the galleries.
var auditedTypes = []string{typeVM, "Microsoft.Compute/disks", "Microsoft.Compute/images"}

const typeScaleSet = "Microsoft.Compute/virtualMachineScaleSets"

func (a *App) fetchEstate(ctx context.Context, estate *audit.Estate, where scope) error {
	s, err := a.open(where)
	if err != nil {
		return err
	}
	from := s.subscriptionID()
	if where.group != "" {
		from = s.groupID()
	}
	for _, resourceType := range auditedTypes {
		if err := s.addAll(ctx, estate, from+"/providers/"+resourceType, apiCompute); err != nil {
			return err
		}
	}
	if err := s.addScaleSets(ctx, estate, from); err != nil {
		return err
	}
	return s.addGalleries(ctx, estate)
}

// addScaleSets adds the models and, since an instance may be behind its model, the instances
// of Uniform sets. Those of Flexible sets are among the machines.
func (s *session) addScaleSets(ctx context.Context, estate *audit.Estate, from string) error {
	sets, err := s.list(ctx, from+"/providers/"+typeScaleSet, apiCompute, nil)
	if err != nil {
		return err
	}
	for _, set := range sets {
		estate.Add(set, idOf(set))
		if strings.EqualFold(arm.GetString(set, "properties.orchestrationMode"), "Flexible") {
			continue
		}
		if err := s.addAll(ctx, estate, idOf(set)+"/virtualMachines", apiCompute); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) addAll(ctx context.Context, estate *audit.Estate, path, apiVersion string) error {
	items, err := s.list(ctx, path, apiVersion, nil)
	for _, item := range items {
		estate.Add(item, path)
	}
	return err
}

// addGalleries adds every gallery of the subscription, whatever group is
// audited: machines of one group run images of another.
func (s *session) addGalleries(ctx context.Context, estate *audit.Estate) error {
	galleries, err := s.list(ctx, s.subscriptionID()+"/providers/"+typeGallery, apiGallery, nil)
	if err != nil {
		return err
	}
	for _, gallery := range galleries {
		estate.Add(gallery, idOf(gallery))
		definitions, err := s.list(ctx, idOf(gallery)+"/images", apiGallery, nil)
		if err != nil {
			return err
		}
		for _, definition := range definitions {
			estate.Add(definition, idOf(definition))
			err = errors.Join(err, s.addAll(ctx, estate, idOf(definition)+"/versions", apiGallery))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
