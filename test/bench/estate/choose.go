// Package estate makes the data of the benchmarks of policies: machines by the
// million from a stated seed, and two hundred of Azure's public definitions, most of
// them with an existence check whose related resource is there and, for every other
// machine, meets the condition.
//
// The definitions are no part of the project; the user names their archive.
package estate

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/policy/batch"
)

// Two hundred definitions, as many as there are without an existence check up to
// fifty of them, the others with one.
const (
	wantAll    = 200
	wantOthers = 50
)

// Definitions reads the definitions of an archive, in the order of their names.
func Definitions(archive string) ([]string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("the public definitions: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	byName := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if strings.Contains(h.Name, "/policyDefinitions/") && strings.HasSuffix(h.Name, ".json") {
			b, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			byName[h.Name] = string(b)
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = byName[name]
	}
	return texts, nil
}

// Check is one definition with what its existence check finds.
type Check struct {
	Text       string
	Parameters value.Value // plain values, of those that it declares
	Program    *policy.Program
	// Query is what it looks for; Met and Missed are a resource that meets the
	// condition and one that does not. Nil without an existence check.
	Query       *policy.Query
	Met, Missed *policy.Resource
}

// Answer answers every existence check with the same resources.
type Answer []*policy.Resource

// FindRelated implements policy.Related.
func (a Answer) FindRelated(policy.Query) ([]*policy.Resource, error) { return a, nil }

// Choose takes the first definitions that can hold for a virtual machine: those
// with an existence check only if one of the candidates meets its condition.
func Choose(texts []string) ([]Check, error) {
	candidates, err := candidates()
	if err != nil {
		return nil, err
	}
	probes := make([]*policy.Resource, 40)
	for i := range probes {
		if probes[i], err = policy.ParseResource(Machine(99, uint64(i)), ""); err != nil {
			return nil, err
		}
	}
	var checks, others []Check
	for _, text := range texts {
		c := Check{Text: text}
		if !c.compile() || !slices.Contains(c.Program.Types(), "microsoft.compute/virtualmachines") {
			continue
		}
		c.probe(probes, candidates)
		switch {
		case c.Met != nil:
			checks = append(checks, c)
		case c.Query == nil && len(others) < wantOthers:
			others = append(others, c)
		}
	}
	return append(others, checks[:min(len(checks), wantAll-len(others))]...), nil
}

func (c *Check) compile() bool {
	def, err := policy.ParseDefinition(c.Text)
	if err != nil {
		return false
	}
	var fields []value.Field
	if p, ok := def.ParameterNamed("effect"); ok && value.In(value.FromString("AuditIfNotExists"), p.AllowedValues) {
		fields = append(fields, value.Field{Key: "effect", Value: value.FromString("AuditIfNotExists")})
	}
	if _, ok := def.ParameterNamed("IncludeArcMachines"); ok {
		fields = append(fields, value.Field{Key: "IncludeArcMachines", Value: value.FromString("true")})
	}
	c.Parameters = value.FromFields(fields)
	c.Program, err = policy.Compile(def, policy.Options{Aliases: alias.Default(), Parameters: c.Parameters})
	return err == nil
}

// probe finds out on some machines whether the definition does an existence
// check, and which candidate meets its condition.
func (c *Check) probe(probes, candidates []*policy.Resource) {
	for _, r := range probes {
		asked := &asking{}
		v := c.Program.Evaluate(policy.Input{Resource: r, Context: Context, Related: asked})
		if v.State != policy.Hit || asked.query == nil {
			continue
		}
		c.Query = asked.query
		for _, candidate := range append(c.hashed(r), candidates...) {
			if c.Program.Evaluate(policy.Input{Resource: r, Context: Context, Related: Answer{candidate}}).State != policy.None {
				c.Missed = candidate
			} else if c.Met == nil {
				c.Met = candidate
			}
		}
		if c.Met != nil {
			return
		}
	}
}

// hashed returns the guest configuration assignment whose parameterHash the
// definition wants on this machine.
func (c *Check) hashed(r *policy.Resource) []*policy.Resource {
	const template = `{"type":"Microsoft.GuestConfiguration/guestConfigurationAssignments","name":"x","properties":{"complianceStatus":"Compliant","parameterHash":%s}}`
	answer := batch.Answers(must(value.Parse(fmt.Sprintf(`[%s]`, fmt.Sprintf(template, `"0"`)))))
	_, tree := c.Program.Explain(policy.Input{Resource: r, Context: Context, Related: answer})
	wanted := hashWanted(tree)
	if wanted == nil {
		return nil
	}
	found, err := policy.ParseResource(fmt.Sprintf(template, wanted.JSON()), "")
	if err != nil {
		return nil
	}
	return []*policy.Resource{found}
}

func hashWanted(e *policy.Explanation) *value.Value {
	if e == nil {
		return nil
	}
	if strings.HasSuffix(e.Subject, "/parameterHash") && e.Wanted != nil {
		return e.Wanted
	}
	for _, child := range e.Children {
		if wanted := hashWanted(child); wanted != nil {
			return wanted
		}
	}
	return nil
}

// asking finds nothing, and notes what it was asked.
type asking struct{ query *policy.Query }

// FindRelated implements policy.Related.
func (a *asking) FindRelated(q policy.Query) ([]*policy.Resource, error) {
	a.query = &q
	return nil, nil
}
