package authorization

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
)

// Azure's codes for what can be wrong with parameters.
const (
	codeMissingParameter   = "MissingPolicyParameter"
	codeUndefinedParameter = "UndefinedPolicyParameter"
	codeNotAllowed         = "PolicyParameterValueNotAllowed"
	codeInvalidUpdate      = "InvalidPolicyParameterUpdate"
	codeUnusedParameters   = "UnusedPolicyParameters"
)

// problems turns what package policy found into ARM errors, one for each.
func problems(err error, at string) (errs []*arm.Error) {
	var ps policy.Problems
	if !errors.As(err, &ps) {
		if err == nil {
			return nil
		}
		return []*arm.Error{arm.BadRequest(string(policy.InvalidDefinition), at, "%v", err)}
	}
	for _, p := range ps {
		target := p.Path
		if at != "" {
			target = strings.TrimSuffix(at+"."+p.Path, ".")
		}
		errs = append(errs, arm.BadRequest(string(p.Code), target, "%s", p.Message))
	}
	return errs
}

// parameterProblems gives parameters' problems the codes that Azure has for them.
func parameterProblems(declared []policy.Parameter, ps policy.Problems, at string) (errs []*arm.Error) {
	for _, p := range ps {
		name := strings.TrimPrefix(p.Path, "parameters.")
		e := arm.BadRequest(codeNotAllowed, at+"."+p.Path, "%s: %s", name, p.Message)
		known := policy.Definition{Parameters: declared}
		if _, ok := known.ParameterNamed(name); !ok {
			e.Code = codeUndefinedParameter
		} else if p.Code == policy.UndefinedParameter {
			e.Code = codeMissingParameter
		}
		errs = append(errs, e)
	}
	return errs
}

// texts checks what all policy resources have in common.
func texts(w *provider.Write) (errs []*arm.Error) {
	for path, most := range map[string]int{"properties.displayName": 128, "properties.description": 512} {
		if n := len([]rune(arm.GetString(w.Doc.Body, path))); n > most && !w.ID.Scope().IsRoot() {
			errs = append(errs, arm.BadRequest("InvalidPolicyText", path, "%s has %d characters; at most %d are possible.", path[len("properties."):], n, most))
		}
	}
	if m, ok := arm.Get(w.Doc.Body, "properties.metadata"); ok && m[0] != '{' {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidRequestContent, "properties.metadata", "metadata must be an object."))
	}
	return errs
}

// stamp writes who created and updated a policy resource into its metadata, as
// Azure does.
func stamp(w *provider.Write) (err error) {
	if m, ok := arm.Get(w.Doc.Body, "properties.metadata"); ok && m[0] != '{' || w.ID.Scope().IsRoot() {
		return nil
	}
	set := func(name string, value any) {
		if err == nil {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.metadata."+name, value)
		}
	}
	if w.Create() {
		set("createdBy", w.Principal.ObjectID)
		set("createdOn", w.Now)
		set("updatedBy", nil)
		set("updatedOn", nil)
		return err
	}
	for _, name := range []string{"createdBy", "createdOn"} {
		if old, ok := arm.Get(w.Old.Body, "properties.metadata."+name); ok {
			set(name, json.RawMessage(old))
		}
	}
	set("updatedBy", w.Principal.ObjectID)
	set("updatedOn", w.Now)
	return err
}

// setDefault writes a property that the client left out.
func setDefault(w *provider.Write, path string, value any) (err error) {
	if _, ok := arm.Get(w.Doc.Body, path); ok {
		return nil
	}
	w.Doc.Body, err = arm.Set(w.Doc.Body, path, value)
	return err
}

// objectProperties reports whether properties can be written into.
func objectProperties(w *provider.Write) bool {
	p, ok := arm.Get(w.Doc.Body, "properties")
	return !ok || p[0] == '{'
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
