package assignment

import (
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// unlooked are types that no policy looks at: the policies themselves, and what the
// control plane keeps for itself. A policy about policies could lock everybody out.
var unlooked = []arm.Type{TypeDefinition, TypeDefinitionVersion, TypeInitiative, TypeInitiativeVersion, TypeAssignment, TypeMember}

// Governed reports whether policies look at resources of a type.
func Governed(t arm.Type) bool {
	switch strings.ToLower(t.Namespace()) {
	case "hallmark.control", "hallmark.compliance", "microsoft.policyinsights", "microsoft.management":
		return false
	}
	path := strings.ToLower(t.Path())
	return !strings.HasPrefix(path, "locations/operation") && !slices.ContainsFunc(unlooked, t.Equal)
}
