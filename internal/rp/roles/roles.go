// Package roles is the role part of the Microsoft.Authorization provider: role
// definitions, role assignments, and what the caller may do.
//
// It stores what is valid; what roles mean is package rbac's, which of them hold is
// package access's. cmd imports it; no other rp may.
package roles

import (
	"regexp"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// Config is what the provider needs.
type Config struct {
	Index *access.Index
	// Foreign lets assignments name principals of other issuers that were never seen.
	Foreign bool
}

var (
	definitionVersions = []string{"2022-05-01-preview", "2022-04-01", "2018-01-01-preview", "2015-07-01"}
	assignmentVersions = []string{"2022-04-01", "2020-10-01-preview", "2020-08-01-preview", "2020-04-01-preview", "2020-03-01-preview", "2018-09-01-preview", "2015-07-01"}
)

// Azure's limits.
const (
	maxDefinitions        = 5000
	maxInSubscription     = 4000
	maxAtManagementGroup  = 500
	maxDescription        = 1024
	maxRoleName           = 512
	maxPermissionsActions = 2048 // characters of one action
)

var guid = regexp.MustCompile(`^(?i)[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)

const everywhere = provider.AtTenant | provider.AtManagementGroup | provider.AtSubscription | provider.AtResourceGroup | provider.AtResource

// New is the provider.
func New(cfg Config) provider.Provider {
	const at = "{scope...}/providers/"
	return provider.Provider{
		Types: []provider.ResourceType{cfg.definitions(), cfg.assignments()},
		Routes: []provider.Route{
			{Pattern: at + string(access.TypeDefinition), Permission: string(access.TypeDefinition) + "/read", Handle: cfg.listDefinitions},
			{Pattern: at + string(access.TypeAssignment), Permission: string(access.TypeAssignment) + "/read", Filtered: true, Handle: cfg.listAssignments},
			{Pattern: at + "Microsoft.Authorization/permissions", Permission: "Microsoft.Authorization/permissions/read",
				Type: "Microsoft.Authorization/permissions", APIVersions: assignmentVersions, Handle: cfg.permissions},
			{Pattern: at + "Microsoft.Authorization/denyAssignments", Permission: "Microsoft.Authorization/denyAssignments/read",
				Type: "Microsoft.Authorization/denyAssignments", APIVersions: assignmentVersions, Handle: nothing},
			{Pattern: "/subscriptions/{subscription}/providers/Microsoft.Authorization/classicAdministrators", Permission: "Microsoft.Authorization/classicAdministrators/read",
				Type: "Microsoft.Authorization/classicAdministrators", APIVersions: []string{"2015-07-01"}, Handle: nothing},
		},
	}
}

func (cfg Config) definitions() provider.ResourceType {
	return provider.ResourceType{
		Type: access.TypeDefinition, Scopes: everywhere, APIVersions: definitionVersions, Hidden: true, NoState: true, NoPatch: true, ShowDeleted: true,
		Name: guid, NameHint: "a GUID", Codes: provider.Codes{Create: 201, Update: 201},
		Home: func(named arm.ID) arm.ID { return access.DefinitionID(named.Name()) },
		Load: cfg.loadDefinition, Default: defaultDefinition, Validate: validateDefinition, Commit: commitDefinition,
		CheckDelete: checkDeleteDefinition, View: viewDefinition,
	}
}

func (cfg Config) assignments() provider.ResourceType {
	return provider.ResourceType{
		Type: access.TypeAssignment, Scopes: everywhere, APIVersions: assignmentVersions, Hidden: true, NoState: true, NoPatch: true, ShowDeleted: true,
		Name: guid, NameHint: "a GUID", Codes: provider.Codes{Create: 201, Update: 201},
		Load: cfg.loadAssignment, Default: defaultAssignment, Validate: cfg.validateAssignment, Commit: commitAssignment, CheckDelete: checkDeleteAssignment,
	}
}
