package resourcegraph

import (
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/kql"
	"hallmark.dev/hallmark/internal/provider"
)

// The texts of a record, in their places.
const (
	textID = iota
	textName
	textType
	textTenant
	textLocation
	textGroup
	textSubscription
	textTags
	texts
)

// columns are those of every table, in Azure's order.
var columns = []kql.Column{
	{Name: "id", Text: textID}, {Name: "name", Text: textName}, {Name: "type", Text: textType}, {Name: "tenantId", Text: textTenant},
	{Name: "kind", Member: "kind"}, {Name: "location", Text: textLocation}, {Name: "resourceGroup", Text: textGroup}, {Name: "subscriptionId", Text: textSubscription},
	{Name: "managedBy", Member: "managedBy"}, {Name: "sku", Type: kql.TypeDynamic, Member: "sku"}, {Name: "plan", Type: kql.TypeDynamic, Member: "plan"},
	{Name: "properties", Type: kql.TypeDynamic, Member: "properties"}, {Name: "tags", Type: kql.TypeDynamic, Text: textTags},
	{Name: "identity", Type: kql.TypeDynamic, Member: "identity"}, {Name: "zones", Type: kql.TypeDynamic, Member: "zones"}, {Name: "extendedLocation", Type: kql.TypeDynamic, Member: "extendedLocation"},
}

// The tables.
var (
	tableResources     = &kql.Table{Name: "Resources", Columns: columns}
	tableContainers    = &kql.Table{Name: "ResourceContainers", Columns: columns}
	tablePolicy        = &kql.Table{Name: "PolicyResources", Columns: columns}
	tableGuest         = &kql.Table{Name: "GuestConfigurationResources", Columns: columns}
	tableAuthorization = &kql.Table{Name: "AuthorizationResources", Columns: columns}
	tables             = []*kql.Table{tableResources, tableContainers, tablePolicy, tableGuest, tableAuthorization}
)

// holds reports whether a table shows documents of a type; for Resources, location
// decides as well.
func holds(t *kql.Table, c *provider.Call, typ arm.Type, location string) bool {
	switch t {
	case tableResources:
		return c.Listed(typ, location)
	case tableContainers:
		return typ.Equal(arm.TypeSubscription) || typ.Equal(arm.TypeResourceGroup) || typ.Equal(arm.TypeManagementGroup)
	case tablePolicy:
		return typ.Equal(assignment.TypeDefinition) || typ.Equal(assignment.TypeInitiative) || typ.Equal(assignment.TypeAssignment) || typ.Equal(assignment.TypeExemption)
	case tableGuest:
		return typ.Key() == "microsoft.guestconfiguration/guestconfigurationassignments"
	case tableAuthorization:
		return typ.Key() == "microsoft.authorization/roleassignments" || typ.Key() == "microsoft.authorization/roledefinitions"
	}
	return false
}

// everywhere reports whether the table's rows may also lie above subscriptions.
func everywhere(t *kql.Table) bool {
	return t == tablePolicy || t == tableAuthorization || t == tableContainers
}

// shownType is a type as the graph writes it: in lower case, groups under their
// subscription.
func shownType(t arm.Type) string {
	if t.Equal(arm.TypeResourceGroup) {
		return "microsoft.resources/subscriptions/resourcegroups"
	}
	return strings.ToLower(string(t))
}
