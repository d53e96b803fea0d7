// Package authorization is the policy part of the Microsoft.Authorization provider:
// policy definitions and initiatives with their versions, assignments and
// exemptions, at every scope that Azure has them at. Built-in definitions are those
// at the tenant.
//
// It stores what is valid, and says of everything that is wrong where and why; what
// policies mean is package policy's, which are effective is package assignment's.
// cmd imports it; no other rp may.
package authorization

import (
	"regexp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Config is what the provider needs besides what is stored.
type Config struct {
	TenantID string
	// Aliases are what custom definitions may name; nil takes Azure's public ones.
	Aliases *alias.Table
}

var (
	definitionVersions = []string{"2025-03-01", "2024-05-01", "2023-04-01", "2021-06-01", "2020-09-01", "2019-09-01", "2018-05-01"}
	assignmentVersions = []string{"2025-03-01", "2024-05-01", "2024-04-01", "2023-04-01", "2022-06-01", "2021-06-01", "2020-09-01", "2019-09-01"}
	exemptionVersions  = []string{"2024-12-01-preview", "2022-07-01-preview", "2020-07-01-preview"}
)

// Azure's limits for each scope.
const (
	maxDefinitions = 500
	maxInitiatives = 200
	maxAssignments = 200
	maxExemptions  = 1000
)

const (
	atDefinitions = provider.AtTenant | provider.AtManagementGroup | provider.AtSubscription
	atAssignments = provider.AtManagementGroup | provider.AtSubscription | provider.AtResourceGroup | provider.AtResource
)

var (
	name     = regexp.MustCompile(`^[^<>*%&:\\?.+/\x00-\x1f]([^<>*%&:\\?+/\x00-\x1f]{0,62}[^<>*%&:\\?.+/ \x00-\x1f])?$`)
	nameHint = "at most 64 characters, none of <>*%&:\\?+/, not ending in '.' or a space"
	version  = regexp.MustCompile(`^\d{1,9}\.\d{1,9}\.\d{1,9}(-[A-Za-z]+)?$`)
)

// New is the provider.
func New(cfg Config) provider.Provider {
	if cfg.Aliases == nil {
		cfg.Aliases = alias.Default()
	}
	return provider.Provider{
		Types: []provider.ResourceType{
			cfg.definitions(), cfg.definitionVersions(), cfg.initiatives(), cfg.initiativeVersions(), cfg.assignments(), cfg.exemptions(),
		},
		Routes: lists(),
	}
}

func (cfg Config) definitions() provider.ResourceType {
	return provider.ResourceType{
		Type: assignment.TypeDefinition, Scopes: atDefinitions, APIVersions: definitionVersions, Name: name, NameHint: nameHint, NotFoundCode: "PolicyDefinitionNotFound",
		Hidden: true, NoState: true, NoPatch: true, CascadeDelete: true, Codes: provider.Codes{Create: 201, Update: 201},
		ReadOnly: []string{"properties.versions"},
		Default:  defaultDefinition, Validate: cfg.validateDefinition, Commit: commitVersioned(maxDefinitions), CheckDelete: unusedDefinition,
	}
}

func (cfg Config) definitionVersions() provider.ResourceType {
	return provider.ResourceType{
		Type: assignment.TypeDefinitionVersion, APIVersions: definitionVersions, Name: version, NameHint: "a version such as 1.2.0",
		Hidden: true, NoState: true, NoPatch: true,
		Default: defaultVersion, Validate: cfg.validateDefinition, Commit: commitVersion, CheckDelete: removeVersion,
	}
}

func (cfg Config) initiatives() provider.ResourceType {
	return provider.ResourceType{
		Type: assignment.TypeInitiative, Scopes: atDefinitions, APIVersions: definitionVersions, Name: name, NameHint: nameHint, NotFoundCode: "PolicySetDefinitionNotFound",
		Hidden: true, NoState: true, NoPatch: true, CascadeDelete: true,
		ReadOnly: []string{"properties.versions"},
		Load:     loadMembers, Default: defaultInitiative, Validate: validateInitiative, Commit: commitVersioned(maxInitiatives), CheckDelete: unusedDefinition,
	}
}

func (cfg Config) initiativeVersions() provider.ResourceType {
	return provider.ResourceType{
		Type: assignment.TypeInitiativeVersion, APIVersions: definitionVersions, Name: version, NameHint: "a version such as 1.2.0",
		Hidden: true, NoState: true, NoPatch: true,
		Load: loadMembers, Default: defaultVersion, Validate: validateInitiative, Commit: commitVersion, CheckDelete: removeVersion,
	}
}

func (cfg Config) assignments() provider.ResourceType {
	return provider.ResourceType{
		Type: assignment.TypeAssignment, Scopes: atAssignments, APIVersions: assignmentVersions, Name: name, NameHint: nameHint, NotFoundCode: "PolicyAssignmentNotFound",
		Hidden: true, NoState: true, Location: provider.LocationOptional, Codes: provider.Codes{Create: 201, Update: 201}, Identity: true,
		ReadOnly: []string{"properties.scope", "properties.instanceId",
			"properties.effectiveDefinitionVersion", "properties.latestDefinitionVersion"},
		Load: loadAssigned, Default: cfg.defaultAssignment, Validate: cfg.validateAssignment, Commit: cfg.commitAssignment, CheckDelete: deleteAssignment,
	}
}

func (cfg Config) exemptions() provider.ResourceType {
	return provider.ResourceType{
		Type: assignment.TypeExemption, Scopes: atAssignments, APIVersions: exemptionVersions, Name: name, NameHint: nameHint, NotFoundCode: "PolicyExemptionNotFound",
		Hidden: true, NoState: true,
		Load: loadExempted, Default: defaultExemption, Validate: validateExemption, Commit: commitExemption, CheckDelete: touch,
	}
}

func touch(tx store.Tx, _ *provider.Write) error { return assignment.Touch(tx) }

// limit refuses one more than Azure allows at a scope.
func limit(tx store.ReadTx, w *provider.Write, most int) error {
	if !w.Create() || w.ID.Scope().IsRoot() {
		return nil // built-ins are as many as Azure has
	}
	docs, err := tx.List(store.Query{Type: w.Type.Type, Prefix: w.ID.Scope().Key() + "/providers/" + w.Type.Type.Key() + "/", Limit: most})
	if err != nil || len(docs) < most {
		return err
	}
	return arm.BadRequest(quotaCode(w.Type.Type), w.ID.Scope().String(),
		"The scope '%s' has %d %s already; more are not possible. Delete one that is not needed.", w.ID.Scope(), len(docs), w.Type.Type.Name())
}

func quotaCode(t arm.Type) string {
	switch {
	case t.Equal(assignment.TypeDefinition):
		return "PolicyDefinitionQuotaExceeded"
	case t.Equal(assignment.TypeInitiative):
		return "PolicySetDefinitionQuotaExceeded"
	case t.Equal(assignment.TypeExemption):
		return "PolicyExemptionQuotaExceeded"
	}
	return "PolicyAssignmentQuotaExceeded"
}
