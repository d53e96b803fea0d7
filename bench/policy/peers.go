package main

import (
	"fmt"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	"github.com/expr-lang/expr"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"hallmark.dev/hallmark/internal/policy/sample"
)

// peer is one rule in the languages of other engines.
type peer struct{ celText, regoText, exprText string }

func quoted(list []string) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = strconv.Quote(strings.ToLower(s))
	}
	return strings.Join(parts, ",")
}

// peers are the sample rules, in their order.
var peers = []peer{
	{
		celText: `r.type.lowerAscii() == "microsoft.compute/virtualmachines" && (
			!(r.properties.storageProfile.imageReference.publisher.lowerAscii() in ["canonical","debian","redhat"]) ||
			!r.properties.storageProfile.imageReference.sku.lowerAscii().startsWith("22_04") || !("costCenter" in r.tags) ||
			!(r.properties.hardwareProfile.vmSize.lowerAscii() in ["standard_b2ms","standard_d2s_v5","standard_d4s_v5","standard_d8s_v5"]))`,
		regoText: `
			approved if {
				image := input.properties.storageProfile.imageReference
				lower(image.publisher) in {"canonical","debian","redhat"}
				startswith(lower(image.sku), "22_04")
				input.tags.costCenter
				lower(input.properties.hardwareProfile.vmSize) in {"standard_b2ms","standard_d2s_v5","standard_d4s_v5","standard_d8s_v5"}
			}
			hit if { lower(input.type) == "microsoft.compute/virtualmachines"; not approved }`,
		exprText: `lower($env["type"]) == "microsoft.compute/virtualmachines" && (
			!(lower(properties.storageProfile.imageReference.publisher) in ["canonical","debian","redhat"]) ||
			!(lower(properties.storageProfile.imageReference.sku) startsWith "22_04") || tags.costCenter == nil ||
			!(lower(properties.hardwareProfile.vmSize) in ["standard_b2ms","standard_d2s_v5","standard_d4s_v5","standard_d8s_v5"]))`,
	},
	{
		celText: `r.type.lowerAscii() == "microsoft.compute/virtualmachines" &&
			r.properties.storageProfile.dataDisks.filter(d, d.managedDisk.storageAccountType.lowerAscii() != "premium_lrs" && d.diskSizeGB > 512.0).size() > 0`,
		regoText: `
			hit if {
				lower(input.type) == "microsoft.compute/virtualmachines"
				count([d | some d in input.properties.storageProfile.dataDisks; lower(d.managedDisk.storageAccountType) != "premium_lrs"; d.diskSizeGB > 512]) > 0
			}`,
		exprText: `lower($env["type"]) == "microsoft.compute/virtualmachines" &&
			count(properties.storageProfile.dataDisks, lower(.managedDisk.storageAccountType) != "premium_lrs" && .diskSizeGB > 512) > 0`,
	},
	{
		celText: `r.type.lowerAscii() == "microsoft.compute/virtualmachines" && r.properties.storageProfile.imageReference.publisher.lowerAscii() == "canonical" &&
			r.properties.storageProfile.imageReference.offer.lowerAscii() in [` + quoted(sample.Offers()) + `]`,
		regoText: `
			hit if {
				lower(input.type) == "microsoft.compute/virtualmachines"
				lower(input.properties.storageProfile.imageReference.publisher) == "canonical"
				lower(input.properties.storageProfile.imageReference.offer) in {` + quoted(sample.Offers()) + `}
			}`,
		exprText: `lower($env["type"]) == "microsoft.compute/virtualmachines" && lower(properties.storageProfile.imageReference.publisher) == "canonical" &&
			lower(properties.storageProfile.imageReference.offer) in [` + quoted(sample.Offers()) + `]`,
	},
	{
		celText: `r.type.lowerAscii() == "microsoft.compute/virtualmachines" &&
			!r.properties.storageProfile.dataDisks.all(d, d.managedDisk.storageAccountType.lowerAscii().startsWith("premium")) &&
			r.properties.storageProfile.dataDisks.all(d, d.diskSizeGB <= 4096.0)`,
		regoText: `
			premium if { every d in input.properties.storageProfile.dataDisks { startswith(lower(d.managedDisk.storageAccountType), "premium") } }
			hit if {
				lower(input.type) == "microsoft.compute/virtualmachines"
				not premium
				every d in input.properties.storageProfile.dataDisks { d.diskSizeGB <= 4096 }
			}`,
		exprText: `lower($env["type"]) == "microsoft.compute/virtualmachines" &&
			!all(properties.storageProfile.dataDisks, lower(.managedDisk.storageAccountType) startsWith "premium") &&
			all(properties.storageProfile.dataDisks, .diskSizeGB <= 4096)`,
	},
	{
		celText: `r.type.lowerAscii() == "microsoft.compute/virtualmachines" && (r.tags.environment + "-" + r.tags.costCenter).lowerAscii() == "production-4711" &&
			timestamp(r.tags.created) + duration("2160h") < timestamp("` + sample.Now + `")`,
		regoText: `
			hit if {
				lower(input.type) == "microsoft.compute/virtualmachines"
				lower(concat("-", [input.tags.environment, input.tags.costCenter])) == "production-4711"
				time.add_date(time.parse_rfc3339_ns(input.tags.created), 0, 0, 90) < time.parse_rfc3339_ns("` + sample.Now + `")
			}`,
		exprText: `lower($env["type"]) == "microsoft.compute/virtualmachines" && lower(tags.environment + "-" + tags.costCenter) == "production-4711" &&
			date(tags.created) + duration("2160h") < date("` + sample.Now + `")`,
	},
}

func (p peer) cel(doc map[string]any) (func() bool, error) {
	env, err := cel.NewEnv(cel.Variable("r", cel.DynType), ext.Strings())
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(p.celText)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	vars := map[string]any{"r": doc}
	return func() bool {
		v, _, err := program.Eval(vars)
		return err == nil && v.Value() == true
	}, nil
}

func opaInput(doc map[string]any) (any, error) {
	return ast.InterfaceToValue(doc)
}

func (p peer) opa() (func(any) bool, error) {
	query, err := rego.New(rego.Query("data.p.hit"), rego.Module("p.rego", "package p\ndefault hit := false\n"+p.regoText)).PrepareForEval(background)
	if err != nil {
		return nil, err
	}
	return func(input any) bool {
		results, err := query.Eval(background, rego.EvalParsedInput(input.(ast.Value)))
		if err != nil {
			panic(fmt.Sprintf("opa: %v", err))
		}
		return results[0].Expressions[0].Value == true
	}, nil
}

func (p peer) exprLang(doc map[string]any) (func() bool, error) {
	program, err := expr.Compile(p.exprText, expr.AllowUndefinedVariables())
	if err != nil {
		return nil, err
	}
	return func() bool {
		v, err := expr.Run(program, doc)
		return err == nil && v == true
	}, nil
}
