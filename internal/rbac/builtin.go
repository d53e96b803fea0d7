package rbac

import "slices"

// The built-in roles that this program itself names.
const (
	OwnerID = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Owner   = "Owner"
	Reader  = "Reader"
)

// BuiltIn is a role that Azure brings along.
type BuiltIn struct {
	Role
	Name        string
	Description string
}

// BuiltIns are the built-in roles that people who govern machines, images, policies
// and identities use, with Azure's ids and permissions (from Azure's published list of
// built-in roles). What they allow on services that are not here does no harm: it
// is what lets the same assignments mean the same in both places.
func BuiltIns() []BuiltIn {
	roles := slices.Concat(general(), compute(), governance(), identities())
	for i := range roles {
		for j := range roles[i].Permissions {
			p := &roles[i].Permissions[j]
			for _, list := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
				if *list == nil {
					*list = []string{}
				}
			}
		}
	}
	return roles
}

// Actions that most roles share.
const (
	readAuthorization = "Microsoft.Authorization/*/read"
	alertRules        = "Microsoft.Insights/alertRules/*"
	deployments       = "Microsoft.Resources/deployments/*"
	readGroups        = "Microsoft.Resources/subscriptions/resourceGroups/read"
	health            = "Microsoft.ResourceHealth/availabilityStatuses/read"
	support           = "Microsoft.Support/*"
)

func builtIn(id, name, description string, p Permission) BuiltIn {
	return BuiltIn{Role: Role{ID: id, Permissions: []Permission{p}}, Name: name, Description: description}
}

func general() []BuiltIn {
	return []BuiltIn{
		builtIn(OwnerID, Owner, "Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.",
			Permission{Actions: []string{"*"}}),
		builtIn("b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor", "Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC, manage assignments in Azure Blueprints, or share image galleries.",
			Permission{Actions: []string{"*"}, NotActions: []string{
				"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
				"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
				"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
				"Microsoft.Resources/deploymentStacks/manageDenySetting/action", "Microsoft.Subscription/cancel/action", "Microsoft.Subscription/enable/action",
			}}),
		builtIn("acdd72a7-3385-48ef-bd42-f606fba81ae7", Reader, "View all resources, but does not allow you to make any changes.",
			Permission{Actions: []string{"*/read"}}),
		builtIn("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "User Access Administrator", "Lets you manage user access to Azure resources.",
			Permission{Actions: []string{"*/read", "Microsoft.Authorization/*", support}}),
		builtIn("f58310d9-a9f6-439a-9e8d-f62e7b41a168", "Role Based Access Control Administrator", "Manage access to Azure resources by assigning roles using Azure RBAC. This role does not allow you to manage access using other ways, such as Azure Policy.",
			Permission{Actions: []string{"Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete", "*/read", support}}),
		builtIn("4d97b98b-1d4f-4787-a291-c67834d212e7", "Network Contributor", "Lets you manage networks, but not access to them.",
			Permission{Actions: []string{readAuthorization, alertRules, "Microsoft.Network/*", health, deployments, readGroups, support}}),
	}
}

func compute() []BuiltIn {
	const backup = "Microsoft.RecoveryServices/Vaults/"
	const protected = backup + "backupFabrics/protectionContainers/protectedItems/"
	return []BuiltIn{
		builtIn("9980e02c-c2be-4d73-94e8-173b1dc7cf3c", "Virtual Machine Contributor", "Lets you manage virtual machines, but not access to them, and not the virtual network or storage account they're connected to.",
			Permission{Actions: []string{
				readAuthorization, "Microsoft.Compute/availabilitySets/*", "Microsoft.Compute/locations/*", "Microsoft.Compute/virtualMachines/*",
				"Microsoft.Compute/virtualMachineScaleSets/*", "Microsoft.Compute/cloudServices/*", "Microsoft.Compute/disks/write", "Microsoft.Compute/disks/read",
				"Microsoft.Compute/disks/delete", "Microsoft.DevTestLab/schedules/*", alertRules,
				"Microsoft.Network/applicationGateways/backendAddressPools/join/action", "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
				"Microsoft.Network/loadBalancers/inboundNatPools/join/action", "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
				"Microsoft.Network/loadBalancers/probes/join/action", "Microsoft.Network/loadBalancers/read", "Microsoft.Network/locations/*",
				"Microsoft.Network/networkInterfaces/*", "Microsoft.Network/networkSecurityGroups/join/action", "Microsoft.Network/networkSecurityGroups/read",
				"Microsoft.Network/publicIPAddresses/join/action", "Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/virtualNetworks/read",
				"Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.RecoveryServices/locations/*",
				backup + "backupFabrics/backupProtectionIntent/write", protected + "*/read", protected + "read", protected + "write",
				backup + "backupPolicies/read", backup + "backupPolicies/write", backup + "read", backup + "usages/read", backup + "write",
				health, deployments, readGroups, "Microsoft.SerialConsole/serialPorts/connect/action", "Microsoft.SqlVirtualMachine/*",
				"Microsoft.Storage/storageAccounts/listKeys/action", "Microsoft.Storage/storageAccounts/read", support,
			}}),
		builtIn("1c0163c0-47e6-4577-8991-ea5c82e286e4", "Virtual Machine Administrator Login", "View Virtual Machines in the portal and login as administrator",
			Permission{Actions: login(), DataActions: []string{"Microsoft.Compute/virtualMachines/login/action", "Microsoft.Compute/virtualMachines/loginAsAdmin/action",
				"Microsoft.HybridCompute/machines/login/action", "Microsoft.HybridCompute/machines/loginAsAdmin/action"}}),
		builtIn("fb879df8-f326-4884-b1cf-06f3ad86be52", "Virtual Machine User Login", "View Virtual Machines in the portal and login as a regular user.",
			Permission{Actions: login(), DataActions: []string{"Microsoft.Compute/virtualMachines/login/action", "Microsoft.HybridCompute/machines/login/action"}}),
		builtIn("85a2d0d9-2eba-4c9c-b355-11c2cc0788ab", "Compute Gallery Artifacts Publisher", "This is the role for publishing gallery artifacts.",
			Permission{Actions: []string{"Microsoft.Compute/galleries/*", "Microsoft.Compute/locations/capsOperations/read", "Microsoft.Compute/locations/communityGalleries/*",
				"Microsoft.Compute/locations/sharedGalleries/*", "Microsoft.Compute/images/*", "Microsoft.Compute/virtualMachines/write", "Microsoft.Compute/disks/write",
				readAuthorization, alertRules, deployments, readGroups}, NotActions: []string{"Microsoft.Compute/galleries/share/action"}}),
		builtIn("cf7c76d2-98a3-4358-a134-615aa78bf44d", "Compute Gallery Image Reader", "This is the role for reading gallery images.",
			Permission{Actions: []string{"Microsoft.Compute/galleries/images/read", "Microsoft.Compute/galleries/images/versions/read"}}),
		builtIn("1ef6a3be-d0ac-425d-8c01-acb62866290b", "Compute Gallery Sharing Admin", "This role allows user to share gallery to another subscription/tenant or share it to the public.",
			Permission{Actions: []string{"Microsoft.Compute/galleries/share/action"}}),
		builtIn("959f8984-c045-4866-89c7-12bf9737be2e", "Data Operator for Managed Disks", "Provides permissions to upload data to empty managed disks, read, or export data of managed disks (not attached to running VMs) and snapshots using SAS URIs and Azure AD authentication.",
			Permission{DataActions: []string{"Microsoft.Compute/disks/download/action", "Microsoft.Compute/disks/upload/action",
				"Microsoft.Compute/snapshots/download/action", "Microsoft.Compute/snapshots/upload/action"}}),
	}
}

func login() []string {
	return []string{"Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/loadBalancers/read",
		"Microsoft.Network/networkInterfaces/read", "Microsoft.Compute/virtualMachines/*/read", "Microsoft.HybridCompute/machines/*/read",
		"Microsoft.HybridConnectivity/endpoints/listCredentials/action"}
}

func governance() []BuiltIn {
	const policies = "Microsoft.Authorization/policy"
	return []BuiltIn{
		builtIn("36243c78-bf99-498c-9df9-86d9f8d28608", "Resource Policy Contributor", "Users with rights to create/modify resource policy, create support ticket and read resources/hierarchy.",
			Permission{Actions: []string{"*/read", policies + "assignments/*", policies + "definitions/*", policies + "exemptions/*", policies + "setdefinitions/*",
				"Microsoft.PolicyInsights/*", support}}),
		builtIn("66bb4e9e-b016-4a94-8249-4c0511c2be84", "Policy Insights Data Writer (Preview)", "Allows read access to resource policies and write access to resource component policy events.",
			Permission{Actions: []string{policies + "assignments/read", policies + "definitions/read", policies + "exemptions/read", policies + "setdefinitions/read"},
				DataActions: []string{"Microsoft.PolicyInsights/checkDataPolicyCompliance/action", "Microsoft.PolicyInsights/policyEvents/logDataEvents/action"}}),
		builtIn("4a9ae827-6dc8-4573-8ac7-8239d42aa03f", "Tag Contributor", "Lets you manage tags on entities, without providing access to the entities themselves.",
			Permission{Actions: []string{readAuthorization, readGroups, "Microsoft.Resources/subscriptions/resourceGroups/resources/read",
				"Microsoft.Resources/subscriptions/resources/read", deployments, alertRules, support, "Microsoft.Resources/tags/*"}}),
		builtIn("5d58bcaf-24a5-4b20-bdb6-eed9f69fbe4c", "Management Group Contributor", "Management Group Contributor Role",
			Permission{Actions: []string{"Microsoft.Management/managementGroups/delete", "Microsoft.Management/managementGroups/read",
				"Microsoft.Management/managementGroups/subscriptions/delete", "Microsoft.Management/managementGroups/subscriptions/write",
				"Microsoft.Management/managementGroups/write", "Microsoft.Management/managementGroups/subscriptions/read"}}),
		builtIn("ac63b705-f282-497d-ac71-919bf39d939d", "Management Group Reader", "Management Group Reader Role",
			Permission{Actions: []string{"Microsoft.Management/managementGroups/read", "Microsoft.Management/managementGroups/subscriptions/read"}}),
	}
}

func identities() []BuiltIn {
	const assigned = "Microsoft.ManagedIdentity/userAssignedIdentities/"
	const federated = assigned + "federatedIdentityCredentials/"
	return []BuiltIn{
		builtIn("e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", "Managed Identity Contributor", "Create, Read, Update, and Delete User Assigned Identity",
			Permission{Actions: []string{assigned + "read", assigned + "write", assigned + "delete", federated + "read", federated + "write", federated + "delete",
				assigned + "revokeTokens/action", readAuthorization, alertRules, readGroups, deployments, support}}),
		builtIn("f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator", "Read and Assign User Assigned Identity",
			Permission{Actions: []string{assigned + "*/read", assigned + "*/assign/action", readAuthorization, alertRules, readGroups, deployments, support}}),
	}
}
