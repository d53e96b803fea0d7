package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/instance"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/batch"
	"hallmark.dev/hallmark/internal/policy/explain"
	"hallmark.dev/hallmark/internal/policy/lint"
	"hallmark.dev/hallmark/internal/policy/policytest"
)

// Exit codes of the commands for policy authors.
const (
	policyExitFailed   = 1 // a rule failed while evaluating
	policyExitFindings = 4 // lint found something, or a test did not pass
)

// exitWith gives an error its exit code.
type exitWith func(code int, err error) error

// newPolicyCommand is hallmark policy: what authors of policies need on their own
// machine, without an endpoint, and the commands of the service.
func newPolicyCommand(exit exitWith, service ...*cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use:   "policy",
		Short: "Write, test, assign and explain Azure Policy",
		Long:  "Azure Policy: eval, lint, test and check work on files and need no endpoint; the others talk to the control plane of the\ncontext. The language, and where Hallmark decides differently from other engines, is in docs/policy.md.",
	}
	command.AddCommand(service...)
	command.AddCommand(newPolicyEval(exit), newPolicyLint(exit), newPolicyTest(exit), newPolicyImportAliases())
	return command
}

type policyEvalFlags struct {
	definition, resource, parameters, related, context, aliases, apiVersion, batch, facts string
	explain                                                                               bool
}

func newPolicyEval(exit exitWith) *cobra.Command {
	var f policyEvalFlags
	command := &cobra.Command{
		Use:   "eval --definition FILE --resource FILE | --batch FILE",
		Short: "Evaluate a definition over a resource",
		Long: `Evaluate a definition, or a bare policy rule, over one resource document and print
the verdict; with --explain also the tree of conditions.

With --batch every line of a file (- for the input) is a request
  {id, definition | policyRule, parameters, resource, aliases, apiVersion, context, related}
and is answered with a line, in order
  {id, state: "effect" | "none" | "error", effect, details, error: {code, message, path}}`,
		Example: `  hallmark policy eval --definition allowed-images.json --resource vm.json --explain
  hallmark policy eval --batch requests.jsonl > answers.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runPolicyEval(cmd, f, exit) },
	}
	flags := command.Flags()
	flags.StringVar(&f.definition, "definition", "", "the definition, or a bare policy rule (JSON)")
	flags.StringVar(&f.resource, "resource", "", "the resource document (JSON)")
	flags.StringVar(&f.parameters, "parameters", "", "parameter values (JSON: plain values, or objects with value)")
	flags.StringVar(&f.related, "related", "", "answers to existence checks, in order (JSON array of a resource, null, or an array of resources)")
	flags.StringVar(&f.context, "context", "", "resourceGroup, subscription, requestContext, policy, utcNow (JSON object)")
	flags.StringVar(&f.facts, "facts", "", "values of Hallmark's read-only aliases (JSON object, such as {\"Hallmark.Image/state\": \"aged\"})")
	flags.StringVar(&f.aliases, "aliases", "", "a provider list in Azure's format, or none to address the document directly")
	flags.StringVar(&f.apiVersion, "api-version", "", "the api-version in which the document is written")
	flags.StringVar(&f.batch, "batch", "", "a file of requests, one JSON object a line; - reads the input")
	flags.BoolVar(&f.explain, "explain", false, "show the tree of conditions")
	return command
}

func runPolicyEval(cmd *cobra.Command, f policyEvalFlags, exit exitWith) error {
	table, err := policyAliases(f.aliases)
	if err != nil {
		return err
	}
	if f.batch != "" {
		return withInput(cmd, f.batch, func(in io.Reader) error { return batch.Policies(in, cmd.OutOrStdout(), table) })
	}
	if f.definition == "" || f.resource == "" {
		return errors.New("policy eval needs --definition and --resource, or --batch")
	}
	program, err := compilePolicy(f, table)
	if err != nil {
		return err
	}
	in, err := policyInput(f)
	if err != nil {
		return err
	}
	verdict, tree := program.Explain(in)
	if !f.explain {
		tree = nil
	}
	if err := printVerdict(cmd, verdict, tree); err != nil {
		return err
	}
	if verdict.State == policy.Failed {
		return exit(policyExitFailed, errors.New("the rule failed while evaluating; this is neither compliant nor not"))
	}
	return nil
}

func compilePolicy(f policyEvalFlags, table *alias.Table) (*policy.Program, error) {
	text, err := os.ReadFile(f.definition)
	if err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	def, err := policytest.ParseAny(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", f.definition, err)
	}
	parameters, err := parametersFile(f.parameters)
	if err != nil {
		return nil, err
	}
	program, err := policy.Compile(def, policy.Options{Aliases: table, Parameters: parameters})
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", f.definition, err)
	}
	return program, nil
}

func policyInput(f policyEvalFlags) (policy.Input, error) {
	var in policy.Input
	resource, err := jsonFile(f.resource)
	if err != nil {
		return in, err
	}
	context, err := jsonFile(f.context)
	if err != nil {
		return in, err
	}
	related, err := jsonFile(f.related)
	if err != nil {
		return in, err
	}
	facts, err := jsonFile(f.facts)
	if err != nil {
		return in, err
	}
	subject := policy.NewResource(resource.AsResource(), f.apiVersion)
	if facts.Kind() == value.Object {
		subject = subject.WithFacts(facts)
	}
	return policy.Input{Resource: subject, Context: context, Related: batch.Answers(related)}, nil
}

// jsonFile parses a file; no name gives no value.
func jsonFile(name string) (value.Value, error) {
	if name == "" {
		return value.Value{}, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return value.Value{}, err
	}
	v, err := value.Parse(string(text))
	if err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// parametersFile reads plain values, objects with value, or a whole ARM
// parameters file.
func parametersFile(name string) (value.Value, error) {
	v, err := jsonFile(name)
	if inner := v.Get("parameters"); inner.Kind() == value.Object {
		v = inner
	}
	return policy.PlainParameters(v), err
}

func withInput(cmd *cobra.Command, name string, f func(io.Reader) error) error {
	if name == "-" {
		return f(cmd.InOrStdin())
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return f(file)
}

// policyVerdict is the JSON form of a verdict.
type policyVerdict struct {
	State       string              `json:"state"`
	Effect      string              `json:"effect,omitempty"`
	Details     *value.Value        `json:"details,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Error       *policyProblem      `json:"error,omitempty"`
	Diagnostics []policy.Diagnostic `json:"diagnostics,omitempty"`
	Explanation *policy.Explanation `json:"explanation,omitempty"`
}

type policyProblem struct {
	Code    policy.Code `json:"code"`
	Message string      `json:"message"`
	Path    string      `json:"path"`
}

func printVerdict(cmd *cobra.Command, v policy.Verdict, tree *policy.Explanation) error {
	if !wantsJSON(cmd) {
		return explain.Text(cmd.OutOrStdout(), v, tree)
	}
	out := policyVerdict{State: v.State.String(), Effect: v.Effect, Reason: v.Reason, Diagnostics: v.Diagnostics, Explanation: tree}
	if !v.Details.IsUndefined() {
		out.Details = &v.Details
	}
	if p := v.Problem; p != nil {
		out.Error = &policyProblem{p.Code, p.Message, p.Path}
	}
	return printJSON(cmd, out)
}

func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// wantsJSON reads the global flag --output, where the root has it.
func wantsJSON(cmd *cobra.Command) bool {
	f := cmd.Flag("output")
	return f != nil && f.Value.String() == "json"
}

// policyAliases returns the loaded table: the public aliases, and over them what
// was imported, or the provider list that is named.
func policyAliases(name string) (*alias.Table, error) {
	switch name {
	case "none":
		return nil, nil
	case "":
		imported, err := importedAliases()
		if err != nil {
			return nil, err
		}
		return alias.Default().With(imported...), nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	list, err := alias.Import(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return alias.Default().With(list...), nil
}

// aliasFile is where import-aliases keeps the provider list.
func aliasFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where to keep aliases: %w", err)
	}
	return filepath.Join(dir, "hallmark", "aliases.json"), nil
}

func importedAliases() ([]alias.Alias, error) {
	name, err := aliasFile()
	if err != nil {
		return nil, nil // no home, so nothing was imported
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := alias.Import(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; import the aliases again, or delete the file", name, err)
	}
	return list, nil
}

func newPolicyImportAliases() *cobra.Command {
	var server bool
	command := &cobra.Command{
		Use:   "import-aliases FILE",
		Short: "Take aliases from a provider list in Azure's own format",
		Long: `Take aliases from the output of
  az provider list --expand resourceTypes/aliases
They add paths by api-version, and which aliases a policy may modify, to the public aliases that
Hallmark brings along, for the commands on this machine; with --server for the control plane whose
data directory --data names, from its next start on.`,
		Example: "  az provider list --expand resourceTypes/aliases > providers.json\n  hallmark policy import-aliases providers.json\n  hallmark policy import-aliases providers.json --server && hallmark down && hallmark up",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			list, err := alias.Import(string(text))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			name, err := aliasFile()
			if data := cmd.Flag("data"); server && data != nil {
				name, err = instance.Dir(data.Value.String()).Aliases(), nil
			}
			if err != nil {
				return err
			}
			if err := replaceFile(name, text); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d aliases imported to %s\n", len(list), name)
			return err
		},
	}
	command.Flags().BoolVar(&server, "server", false, "for the local control plane instead of the commands")
	return command
}

// replaceFile writes a file so that after a crash either the old or the new one
// is there.
func replaceFile(name string, data []byte) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".aliases-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // renamed; a directory that cannot be opened cannot be synced
	}
	return errors.Join(d.Sync(), d.Close())
}

// fileFinding is a finding of lint with its file.
type fileFinding struct {
	File string `json:"file"`
	lint.Finding
}

func newPolicyLint(exit exitWith) *cobra.Command {
	var aliases string
	command := &cobra.Command{
		Use:     "lint FILE|DIR...",
		Short:   "Find mistakes in definitions",
		Long:    "Find what is wrong in definitions, and what is probably not meant: unknown and deprecated aliases,\nconditions that never hold, rules that do not ask for a type, modes that do not fit.",
		Example: "  hallmark policy lint policies/",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			table, err := policyAliases(aliases)
			if err != nil {
				return err
			}
			findings, err := lintFiles(args, table)
			if err != nil {
				return err
			}
			return reportFindings(cmd, findings, exit)
		},
	}
	command.Flags().StringVar(&aliases, "aliases", "", "a provider list in Azure's format, or none")
	return command
}

func lintFiles(args []string, table *alias.Table) ([]fileFinding, error) {
	findings := []fileFinding{}
	for _, arg := range args {
		err := filepath.WalkDir(arg, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || path != arg && !strings.HasSuffix(path, ".json") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if path != arg && !looksLikePolicy(string(text)) {
				return nil
			}
			for _, f := range lint.Definition(string(text), table) {
				findings = append(findings, fileFinding{path, f})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return findings, nil
}

// looksLikePolicy keeps resource documents and the like in a directory apart.
func looksLikePolicy(text string) bool {
	lower := value.LowerASCII(text)
	return strings.Contains(lower, `"policyrule"`) || strings.Contains(lower, `"if"`) && strings.Contains(lower, `"then"`)
}

func reportFindings(cmd *cobra.Command, findings []fileFinding, exit exitWith) error {
	serious := 0
	for _, f := range findings {
		if f.Severity != lint.Info {
			serious++
		}
	}
	if wantsJSON(cmd) {
		if err := printJSON(cmd, findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s:%d:%d: %s: %s (%s) %s\n", f.File, f.Line, f.Column, f.Severity, f.Message, f.Rule, f.Path); err != nil {
				return err
			}
		}
	}
	if serious > 0 {
		return exit(policyExitFindings, fmt.Errorf("%d findings", serious))
	}
	return nil
}

func newPolicyTest(exit exitWith) *cobra.Command {
	var aliases, junit string
	command := &cobra.Command{
		Use:   "test DIR",
		Short: "Run the tests beside definitions",
		Long: `Run every NAME.test.yaml under a directory against NAME.json beside it, and tell which conditions
no test saw to hold, or not to hold.

  tests:
    - name: an approved image
      file: vm.json              # or resource: {...}
      parameters: {effect: Deny}
      expect: none               # an effect, none, or error`,
		Example: "  hallmark policy test policies/ --junit results.xml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			table, err := policyAliases(aliases)
			if err != nil {
				return err
			}
			files, err := policytest.Run(args[0], table)
			if err != nil {
				return err
			}
			if junit != "" {
				if err := writeJUnit(junit, files); err != nil {
					return err
				}
			}
			tests, failures, err := policytest.WriteText(cmd.OutOrStdout(), files)
			if err == nil && failures > 0 {
				err = exit(policyExitFindings, fmt.Errorf("%d of %d tests did not pass", failures, tests))
			}
			return err
		},
	}
	command.Flags().StringVar(&aliases, "aliases", "", "a provider list in Azure's format, or none")
	command.Flags().StringVar(&junit, "junit", "", "also write the results to this file as JUnit XML")
	return command
}

func writeJUnit(name string, files []policytest.File) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(policytest.WriteJUnit(f, files), f.Close())
}
