// Package epac writes policies in the layout that Enterprise Policy as Code (EPAC) deploys
// from: policyDefinitions, policySetDefinitions, policyAssignments and policyExemptions,
// with a global-settings.jsonc that says where.
//
// Pure: it takes ARM documents and returns files. The shapes are those of EPAC's own
// schemas, whose addresses the files carry. Commands import it.
package epac

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

const schemas = "https://raw.githubusercontent.com/Azure/enterprise-azure-policy-as-code/main/Schemas/"

// Estate is what is exported: ARM documents.
type Estate struct {
	Definitions, Initiatives, Assignments, Exemptions []json.RawMessage
}

// Options say where EPAC will deploy to.
type Options struct {
	Selector string // of EPAC's environment, such as epac-prod
	Tenant   string
	Root     string // the scope at which definitions stand
	Location string // of managed identities
	Owner    string // pacOwnerId
}

// File is a file of the export; its path is relative, with slashes.
type File struct{ Path, Text string }

// Export makes the files. notes say what EPAC has no shape for, and was left out.
func Export(e Estate, o Options) (files []File, notes []string, err error) {
	x := &export{Options: o, taken: map[string]bool{}}
	x.settings()
	for _, part := range []struct {
		docs []json.RawMessage
		one  func(document)
	}{{e.Definitions, x.definition}, {e.Initiatives, x.initiative}, {e.Assignments, x.assignment}, {e.Exemptions, x.exemption}} {
		for _, raw := range part.docs {
			var d document
			if err := json.Unmarshal(raw, &d); err != nil {
				return nil, nil, fmt.Errorf("reading a policy document: %w", err)
			}
			part.one(d)
		}
	}
	return x.files, x.notes, x.err
}

// document is an ARM document of the policy service.
type document struct {
	ID, Name, Location string
	Identity           struct {
		Type                   string
		UserAssignedIdentities map[string]any
	}
	Properties map[string]any
}

func (d document) text(name string) string {
	s, _ := d.Properties[name].(string)
	return s
}

type export struct {
	Options
	files []File
	notes []string
	taken map[string]bool
	err   error
}

// object keeps the order in which people read.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for _, m := range o {
		if m.value == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), v...)
	}
	return append(b, '}'), nil
}

func (x *export) write(dir, name string, o object) {
	var raw strings.Builder
	e := json.NewEncoder(&raw)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(o); err != nil && x.err == nil {
		x.err = fmt.Errorf("writing %s: %w", name, err)
	}
	extension := ".json"
	if base, ok := strings.CutSuffix(name, ".jsonc"); ok {
		name, extension = base, ".jsonc"
	}
	file := path.Join(dir, safe(name)+extension)
	for n := 2; x.taken[strings.ToLower(file)]; n++ {
		file = path.Join(dir, fmt.Sprintf("%s-%d%s", safe(name), n, extension))
	}
	x.taken[strings.ToLower(file)] = true
	x.files = append(x.files, File{file, raw.String()})
}

// safe is a name as a file name.
func safe(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-'
		}
		return r
	}, name)
	return cmp.Or(strings.Trim(name, ". "), "unnamed")
}

func (x *export) settings() {
	x.write("", "global-settings.jsonc", object{{"$schema", schemas + "global-settings-schema.json"}, {"pacOwnerId", x.Owner},
		{"pacEnvironments", []object{{{"pacSelector", x.Selector}, {"cloud", "AzureCloud"}, {"tenantId", x.Tenant}, {"deploymentRootScope", x.Root},
			// Whoever takes over an estate from an export must not delete what is beside it.
			{"desiredState", object{{"strategy", "ownedOnly"}, {"keepDfcSecurityAssignments", true}}}, {"managedIdentityLocation", x.Location}}}}})
}

// stamps are what the service adds to metadata.
var stamps = []string{"createdBy", "createdOn", "updatedBy", "updatedOn", "assignedBy", "parameterScopes"}

// metadata is an object of what people wrote.
func metadata(d document) map[string]any {
	out := map[string]any{}
	all, _ := d.Properties["metadata"].(map[string]any)
	for name, v := range all {
		if !slices.Contains(stamps, name) {
			out[name] = v
		}
	}
	return out
}

// described is metadata with what EPAC's schema demands of definitions.
func described(d document) map[string]any {
	m := metadata(d)
	for name, fallback := range map[string]string{"version": cmp.Or(d.text("version"), "1.0.0"), "category": "General"} {
		if s, _ := m[name].(string); s == "" {
			m[name] = fallback
		}
	}
	return m
}

func category(d document) string {
	s, _ := described(d)["category"].(string)
	return safe(s)
}

func (x *export) definition(d document) {
	x.write("policyDefinitions/"+category(d), d.Name, object{{"$schema", schemas + "policy-definition-schema.json"}, {"name", d.Name},
		{"properties", object{{"displayName", cmp.Or(d.text("displayName"), d.Name)}, {"description", d.text("description")}, {"mode", cmp.Or(d.text("mode"), "All")},
			{"metadata", described(d)}, {"parameters", orEmpty(d.Properties["parameters"])}, {"policyRule", d.Properties["policyRule"]}}}})
}

func orEmpty(v any) any {
	if v == nil {
		return object{}
	}
	return v
}

func (x *export) initiative(d document) {
	members, _ := d.Properties["policyDefinitions"].([]any)
	var out []object
	for _, m := range members {
		m, _ := m.(map[string]any)
		id, _ := m["policyDefinitionId"].(string)
		o := object{{"policyDefinitionReferenceId", m["policyDefinitionReferenceId"]}}
		if isBuiltIn(id) {
			o = append(o, member{"policyDefinitionId", id}, member{"definitionVersion", m["definitionVersion"]})
		} else {
			o = append(o, member{"policyDefinitionName", last(id)})
		}
		out = append(out, append(o, member{"parameters", orEmpty(m["parameters"])}, member{"groupNames", m["groupNames"]}))
	}
	x.write("policySetDefinitions/"+category(d), d.Name, object{{"$schema", schemas + "policy-set-definition-schema.json"}, {"name", d.Name},
		{"properties", object{{"displayName", cmp.Or(d.text("displayName"), d.Name)}, {"description", d.text("description")}, {"metadata", described(d)},
			{"policyDefinitionGroups", d.Properties["policyDefinitionGroups"]}, {"parameters", orEmpty(d.Properties["parameters"])}, {"policyDefinitions", out}}}})
}

// isBuiltIn reports whether an id stands at the tenant.
func isBuiltIn(id string) bool {
	return strings.HasPrefix(strings.ToLower(id), "/providers/microsoft.authorization/")
}

func last(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// scope is where a document stands.
func (d document) scope() string {
	at := strings.LastIndex(strings.ToLower(d.ID), "/providers/microsoft.authorization/")
	if at < 0 {
		return ""
	}
	return d.ID[:at]
}

func (x *export) assignment(d document) {
	of := reference(d.text("policyDefinitionId"))
	entry := object{of, {"displayName", cmp.Or(d.text("displayName"), d.Name)}}
	if isBuiltIn(d.text("policyDefinitionId")) {
		entry = append(entry, member{"definitionVersion", d.Properties["definitionVersion"]})
	}
	mode := d.text("enforcementMode")
	if !strings.EqualFold(mode, "DoNotEnforce") {
		if mode != "" && !strings.EqualFold(mode, "Default") {
			x.notes = append(x.notes, fmt.Sprintf("%s: the enforcement mode %s became DoNotEnforce", d.ID, mode))
			mode = "DoNotEnforce"
		} else {
			mode = "Default"
		}
	}
	o := object{{"$schema", schemas + "policy-assignment-schema.json"}, {"nodeName", "/" + d.Name}, {"scope", x.selected([]string{d.scope()})}, {"definitionEntry", entry},
		{"assignment", object{{"name", d.Name}, {"displayName", cmp.Or(d.text("displayName"), d.Name)}, {"description", d.text("description")}}},
		{"enforcementMode", mode}, {"parameters", plain(d)}}
	if list, _ := d.Properties["notScopes"].([]any); len(list) > 0 {
		o = append(o, member{"notScopes", x.selected(list)})
	}
	for _, name := range []string{"nonComplianceMessages", "resourceSelectors"} {
		if list, _ := d.Properties[name].([]any); len(list) > 0 {
			o = append(o, member{name, list})
		}
	}
	if list := x.overrides(d, of); len(list) > 0 {
		o = append(o, member{"overrides", list})
	}
	x.write("policyAssignments", d.Name, append(append(o, x.identity(d)...), member{"metadata", metadata(d)}))
}

// selected is a value for EPAC's environment.
func (x *export) selected(v any) any { return object{{x.Selector, v}} }

// reference names a definition or initiative as EPAC does: custom ones by name.
func reference(id string) member {
	kind := "policy"
	if strings.Contains(strings.ToLower(id), "/policysetdefinitions/") {
		kind = "policySet"
	}
	if isBuiltIn(id) {
		return member{kind + "Id", id}
	}
	return member{kind + "Name", last(id)}
}

// plain are the parameters' values without ARM's wrapping.
func plain(d document) map[string]any {
	out := map[string]any{}
	all, _ := d.Properties["parameters"].(map[string]any)
	for name, v := range all {
		wrapped, _ := v.(map[string]any)
		out[name] = wrapped["value"]
	}
	return out
}

func (x *export) identity(d document) object {
	switch {
	case strings.EqualFold(d.Identity.Type, "SystemAssigned"):
		return object{{"managedIdentityLocations", x.selected(d.Location)}}
	case strings.EqualFold(d.Identity.Type, "UserAssigned"):
		for id := range d.Identity.UserAssignedIdentities {
			return object{{"managedIdentityLocations", x.selected(d.Location)}, {"userAssignedIdentity", x.selected(id)}}
		}
	}
	return nil
}

// overrides are those of effects; EPAC knows no others.
func (x *export) overrides(d document, of member) (out []object) {
	all, _ := d.Properties["overrides"].([]any)
	for i, v := range all {
		o, _ := v.(map[string]any)
		kind, _ := o["kind"].(string)
		selectors, _ := o["selectors"].([]any)
		var refs any
		fits := strings.EqualFold(kind, "policyEffect") && len(selectors) <= 1
		for _, s := range selectors {
			s, _ := s.(map[string]any)
			by, _ := s["kind"].(string)
			refs = s["in"]
			fits = fits && strings.EqualFold(by, "policyDefinitionReferenceId") && refs != nil
		}
		if !fits {
			x.notes = append(x.notes, fmt.Sprintf("%s: overrides[%d] has no counterpart in EPAC and was left out", d.ID, i))
			continue
		}
		out = append(out, object{of, {"effect", o["value"]}, {"policyDefinitionReferences", refs}})
	}
	return out
}

func (x *export) exemption(d document) {
	o := object{{"name", d.Name}, {"displayName", cmp.Or(d.text("displayName"), d.Name)}, {"description", d.text("description")},
		{"exemptionCategory", d.text("exemptionCategory")}, {"expiresOn", d.Properties["expiresOn"]}, {"scope", d.scope()}, {"policyAssignmentId", d.text("policyAssignmentId")}}
	for _, name := range []string{"policyDefinitionReferenceIds", "resourceSelectors"} {
		if list, _ := d.Properties[name].([]any); len(list) > 0 {
			o = append(o, member{name, list})
		}
	}
	o = append(o, member{"assignmentScopeValidation", d.Properties["assignmentScopeValidation"]}, member{"metadata", metadata(d)})
	x.write("policyExemptions/"+safe(x.Selector), d.Name, object{{"$schema", schemas + "policy-exemption-schema.json"}, {"exemptions", []object{o}}})
}
