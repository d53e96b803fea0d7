package authorization

import (
	"encoding/json"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
)

// Azure's limits on one definition.
const (
	maxParameters = 20
	maxConditions = 512
)

func defaultDefinition(w *provider.Write) error {
	if !objectProperties(w) {
		return nil
	}
	// A definition without a mode is Indexed: Azure's rule for what was written
	// before there were modes.
	if err := setDefault(w, "properties.mode", "Indexed"); err != nil {
		return err
	}
	return defaultCommon(w)
}

// defaultCommon is what definitions and initiatives share: where they are decides
// what they are.
func defaultCommon(w *provider.Write) (err error) {
	policyType := "Custom"
	if w.ID.Scope().IsRoot() {
		if policyType = arm.GetString(w.Doc.Body, "properties.policyType"); policyType != "Static" {
			policyType = "BuiltIn"
		}
	}
	if w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.policyType", policyType); err != nil {
		return err
	}
	known := arm.GetString(w.Doc.Body, "properties.metadata.version")
	if policyType == "Custom" || !version.MatchString(known) {
		known = "1.0.0"
	}
	if err := setDefault(w, "properties.version", known); err != nil {
		return err
	}
	if err := setDefault(w, "properties.displayName", ""); err != nil {
		return err
	}
	return stamp(w)
}

func (cfg Config) validateDefinition(w *provider.Write) []*arm.Error {
	errs := texts(w)
	if v := arm.GetString(w.Doc.Body, "properties.version"); !version.MatchString(v) {
		errs = append(errs, arm.BadRequest(string(policy.InvalidDefinition), "properties.version", "%q is not a version such as 1.2.0.", v))
	}
	def, err := policy.ParseDefinition(string(w.Doc.Body))
	if err != nil {
		return append(errs, problems(err, "")...)
	}
	builtin := w.ID.Subscription() == "" && w.ID.Scope().IsRoot()
	_, err = policy.Compile(def, policy.Options{Aliases: cfg.Aliases, TolerateUnknownAliases: builtin})
	errs = append(errs, problems(err, "")...)
	if !builtin {
		errs = append(errs, limits(def)...)
		errs = append(errs, unused(def, string(w.Doc.Body))...)
	}
	errs = append(errs, defaults(def.Parameters)...)
	return append(errs, updated(w, def.Parameters)...)
}

func limits(def *policy.Definition) (errs []*arm.Error) {
	if n := len(def.Parameters); n > maxParameters {
		errs = append(errs, arm.BadRequest(string(policy.InvalidDefinition), "properties.parameters", "The definition has %d parameters; at most %d are possible.", n, maxParameters))
	}
	if n := def.Conditions(); n > maxConditions {
		errs = append(errs, arm.BadRequest(string(policy.TooComplex), "properties.policyRule", "The rule has %d conditions; at most %d are possible.", n, maxConditions))
	}
	return errs
}

// unused refuses parameters that the rule never reads: they would look as if they
// changed something.
func unused(def *policy.Definition, text string) (errs []*arm.Error) {
	rule, _ := arm.Get([]byte(text), "properties.policyRule")
	squeezed := strings.ReplaceAll(strings.ToLower(string(rule)), " ", "")
	for _, p := range def.Parameters {
		if !strings.Contains(squeezed, "parameters('"+strings.ReplaceAll(strings.ToLower(p.Name), " ", "")+"')") {
			errs = append(errs, arm.BadRequest(codeUnusedParameters, "properties.parameters."+p.Name,
				"The policy has defined the parameter '%s', which is not used in the policy rule. Remove it, or use it in the rule.", p.Name))
		}
	}
	return errs
}

// defaults checks default values as if they were given.
func defaults(declared []policy.Parameter) (errs []*arm.Error) {
	for _, p := range declared {
		if p.Type == "" {
			errs = append(errs, arm.BadRequest(string(policy.InvalidParameter), "properties.parameters."+p.Name+".type", "The parameter '%s' has no type.", p.Name))
		}
		if p.Default.IsUndefined() {
			continue
		}
		given := value.FromFields([]value.Field{{Key: p.Name, Value: p.Default}})
		for _, problem := range policy.CheckParameters([]policy.Parameter{p}, given) {
			errs = append(errs, arm.BadRequest(string(problem.Code), "properties.parameters."+p.Name+".defaultValue", "%s", problem.Message))
		}
	}
	return errs
}

func major(body json.RawMessage) string {
	m, _, _ := strings.Cut(arm.GetString(body, "properties.version"), ".")
	return m
}

// updated refuses changes of parameters that would break who uses them.
func updated(w *provider.Write, now []policy.Parameter) (errs []*arm.Error) {
	if w.Old == nil || w.ID.Scope().IsRoot() || major(w.Old.Body) != major(w.Doc.Body) {
		return nil // a new major version may break with the old one
	}
	before, err := parametersOf(w.Old.Body)
	if err != nil {
		return nil // what is stored is broken; anything is better
	}
	old, fresh := policy.Definition{Parameters: before}, policy.Definition{Parameters: now}
	for _, p := range now {
		was, ok := old.ParameterNamed(p.Name)
		switch {
		case !ok && p.Default.IsUndefined():
			errs = append(errs, arm.BadRequest(codeInvalidUpdate, "properties.parameters."+p.Name,
				"The new parameter '%s' has no default value. Parameters may be added to a policy only with one.", p.Name))
		case ok && !strings.EqualFold(was.Type, p.Type):
			errs = append(errs, arm.BadRequest(codeInvalidUpdate, "properties.parameters."+p.Name+".type",
				"The type of the parameter '%s' cannot change from %s to %s.", p.Name, was.Type, p.Type))
		}
	}
	for _, p := range before {
		if _, ok := fresh.ParameterNamed(p.Name); !ok {
			errs = append(errs, arm.BadRequest(codeInvalidUpdate, "properties.parameters."+p.Name,
				"The policy is attempting to remove the parameter '%s', which the existing one has. Parameters cannot be removed.", p.Name))
		}
	}
	return errs
}
