package assignment

import "hallmark.dev/hallmark/internal/arm"

// The types of documents that policies come from.
const (
	TypeDefinition        arm.Type = "Microsoft.Authorization/policyDefinitions"
	TypeDefinitionVersion arm.Type = "Microsoft.Authorization/policyDefinitions/versions"
	TypeInitiative        arm.Type = "Microsoft.Authorization/policySetDefinitions"
	TypeInitiativeVersion arm.Type = "Microsoft.Authorization/policySetDefinitions/versions"
	TypeAssignment        arm.Type = "Microsoft.Authorization/policyAssignments"
	TypeExemption         arm.Type = "Microsoft.Authorization/policyExemptions"
	// TypeMember says that a subscription is in a management group.
	TypeMember arm.Type = "Microsoft.Management/managementGroups/subscriptions"
)

// IsSource reports whether a change of a document of this type can change what is
// effective somewhere.
func IsSource(t arm.Type) bool {
	for _, s := range []arm.Type{TypeAssignment, TypeExemption, TypeDefinition, TypeInitiative, TypeDefinitionVersion,
		TypeInitiativeVersion, TypeMember, arm.TypeManagementGroup} {
		if s.Equal(t) {
			return true
		}
	}
	return false
}
