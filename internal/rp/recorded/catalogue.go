package recorded

import (
	"regexp"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// closedNamespaces are served for real: a type of theirs that is not served is
// unknown, unless it is named below.
var closedNamespaces = []string{
	"Microsoft.Authorization", "Microsoft.Compute", "Microsoft.GuestConfiguration", "Microsoft.Management", "Microsoft.PolicyInsights",
	"Microsoft.ResourceGraph", "Microsoft.Resources", "Microsoft.VirtualMachineImages", "Hallmark.Compliance", "Hallmark.Control", "Hallmark.Images",
}

func isClosed(namespace string) bool {
	return slices.ContainsFunc(closedNamespaces, func(c string) bool { return strings.EqualFold(c, namespace) })
}

func closed(t arm.Type) bool { return isClosed(t.Namespace()) }

const (
	extension     = provider.AtResource
	subscription  = provider.AtSubscription
	subscriptions = provider.AtSubscription | provider.AtResourceGroup
	everywhere    = provider.AtSubscription | provider.AtResourceGroup | provider.AtResource
)

// named are types that have no aliases, or that do not live in resource groups only,
// or that belong to a closed namespace and promise nothing that Hallmark would not keep.
var named = []Type{
	{Type: "Microsoft.Compute/availabilitySets"},
	{Type: "Microsoft.Compute/capacityReservationGroups"},
	{Type: "Microsoft.Compute/capacityReservationGroups/capacityReservations"},
	{Type: "Microsoft.Compute/diskAccesses"},
	{Type: "Microsoft.Compute/diskEncryptionSets"},
	{Type: "Microsoft.Compute/hostGroups"},
	{Type: "Microsoft.Compute/hostGroups/hosts"},
	{Type: "Microsoft.Compute/proximityPlacementGroups"},
	{Type: "Microsoft.Compute/restorePointCollections"},
	{Type: "Microsoft.Compute/sshPublicKeys"},

	{Type: "Microsoft.Chaos/targets", Scopes: extension},
	{Type: "Microsoft.Chaos/targets/capabilities"},
	{Type: "Microsoft.Consumption/budgets", Scopes: subscriptions | provider.AtManagementGroup},
	{Type: "Microsoft.CostManagement/exports", Scopes: subscriptions | provider.AtManagementGroup},
	{Type: "Microsoft.EventGrid/eventSubscriptions", Scopes: everywhere},
	{Type: "Microsoft.Insights/actionGroups"},
	{Type: "Microsoft.Insights/dataCollectionRuleAssociations", Scopes: extension},
	{Type: "Microsoft.Insights/diagnosticSettings", Scopes: subscription | extension},
	{Type: "Microsoft.Insights/logProfiles", Scopes: subscription},
	{Type: "Microsoft.KubernetesConfiguration/extensions", Scopes: extension},
	{Type: "Microsoft.KubernetesConfiguration/fluxConfigurations", Scopes: extension},
	{Type: "Microsoft.Maintenance/configurationAssignments", Scopes: everywhere},
	{Type: "Microsoft.Maintenance/maintenanceConfigurations"},
	{Type: "Microsoft.ManagedIdentity/userAssignedIdentities"},
	{Type: "Microsoft.ManagedServices/registrationAssignments", Scopes: subscriptions},
	{Type: "Microsoft.ManagedServices/registrationDefinitions", Scopes: subscriptions},
	{Type: "Microsoft.OperationalInsights/workspaces"},
	{Type: "Microsoft.OperationsManagement/solutions"},
	{Type: "Microsoft.Security/advancedThreatProtectionSettings", Scopes: extension},
	{Type: "Microsoft.Security/alertsSuppressionRules", Scopes: subscription},
	{Type: "Microsoft.Security/assessmentMetadata", Scopes: subscription},
	{Type: "Microsoft.Security/assessments", Scopes: everywhere},
	{Type: "Microsoft.Security/autoProvisioningSettings", Scopes: subscription},
	{Type: "Microsoft.Security/defenderForStorageSettings", Scopes: extension},
	{Type: "Microsoft.Security/deviceSecurityGroups", Scopes: extension},
	{Type: "Microsoft.Security/governanceRules", Scopes: subscription},
	{Type: "Microsoft.Security/pricings", Scopes: everywhere},
	{Type: "Microsoft.Security/securityContacts", Scopes: subscription},
	{Type: "Microsoft.Security/securityStandards", Scopes: subscription | provider.AtManagementGroup},
	{Type: "Microsoft.Security/serverVulnerabilityAssessmentsSettings", Scopes: subscription},
	{Type: "Microsoft.Security/settings", Scopes: subscription},
	{Type: "Microsoft.Security/standardAssignments", Scopes: everywhere},
	{Type: "Microsoft.Security/workspaceSettings", Scopes: subscription},
	{Type: "Microsoft.ServiceLinker/linkers", Scopes: extension},
}

type nameRule struct {
	pattern *regexp.Regexp
	hint    string
}

var networkName = nameRule{regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?$`),
	"1 to 80 letters, digits, underscores, full stops or dashes; it starts with a letter or digit and ends with one or an underscore"}

// names are Azure's rules for the types that people make most.
// Source: "Naming rules and restrictions for Azure resources".
var names = map[string]nameRule{
	"microsoft.storage/storageaccounts": {regexp.MustCompile(`^[a-z0-9]{3,24}$`), "3 to 24 lowercase letters and digits"},
	"microsoft.keyvault/vaults": {regexp.MustCompile(`^[A-Za-z](-?[A-Za-z0-9]){2,23}$`),
		"3 to 24 letters, digits and single hyphens; it starts with a letter and ends with a letter or digit"},
	"microsoft.web/sites":                    {regexp.MustCompile(`^[\p{L}\p{N}]([\p{L}\p{N}-]{0,58}[\p{L}\p{N}])?$`), "1 to 60 letters, digits and hyphens; it starts and ends with a letter or digit"},
	"microsoft.web/serverfarms":              {regexp.MustCompile(`^[\p{L}\p{N}-]{1,60}$`), "1 to 60 letters, digits and hyphens"},
	"microsoft.containerregistry/registries": {regexp.MustCompile(`^[A-Za-z0-9]{5,50}$`), "5 to 50 letters and digits"},
	"microsoft.operationalinsights/workspaces": {regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]$`),
		"4 to 63 letters, digits and hyphens; it starts and ends with a letter or digit"},
	"microsoft.managedidentity/userassignedidentities": {regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`),
		"3 to 128 letters, digits, hyphens and underscores; it starts with a letter or digit"},
	"microsoft.compute/availabilitysets": {regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?$`), networkName.hint},
}
