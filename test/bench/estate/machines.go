package estate

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
)

// Context is what the rules may ask beside the document.
var Context = must(value.Parse(`{"utcNow":"2026-11-22T00:00:00Z","resourceGroup":{"name":"rg","location":"westeurope","tags":{"cost":"1"}},
	"subscription":{"subscriptionId":"6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10","tags":{}},"requestContext":{"apiVersion":"2024-07-01"},
	"policy":{"assignmentId":"/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/providers/Microsoft.Authorization/policyAssignments/a","setDefinitionId":"","definitionReferenceId":""}}`))

func must(v value.Value, err error) value.Value {
	if err != nil {
		panic(err) // a constant of this file
	}
	return v
}

// candidates are related resources that existence conditions of the public
// definitions ask for.
func candidates() ([]*policy.Resource, error) {
	var all []*policy.Resource
	texts := []string{
		`{"type":"Microsoft.Other/nothing","properties":{}}`,
		`{"type":"Microsoft.GuestConfiguration/guestConfigurationAssignments","name":"x","properties":{"complianceStatus":"NonCompliant","parameterHash":"0"}}`,
		`{"type":"Microsoft.GuestConfiguration/guestConfigurationAssignments","name":"x","properties":{"complianceStatus":"Compliant","parameterHash":"0"}}`,
		`{"type":"Microsoft.Security/assessments","properties":{"status":{"code":"Healthy"}}}`,
		`{"type":"Microsoft.Security/assessments","properties":{"status":{"code":"NotApplicable"}}}`,
	}
	for _, e := range [][2]string{{"Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent"}, {"Microsoft.Azure.Monitor", "AzureMonitorWindowsAgent"},
		{"Microsoft.GuestConfiguration", "ConfigurationforLinux"}, {"Microsoft.GuestConfiguration", "ConfigurationforWindows"},
		{"Microsoft.Azure.Security.LinuxAttestation", "GuestAttestation"}, {"Microsoft.Azure.Security.WindowsAttestation", "GuestAttestation"},
		{"Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux"}, {"Microsoft.EnterpriseCloud.Monitoring", "MicrosoftMonitoringAgent"},
		{"Microsoft.Azure.Monitoring.DependencyAgent", "DependencyAgentLinux"}, {"Microsoft.Azure.Monitoring.DependencyAgent", "DependencyAgentWindows"},
		{"Microsoft.Azure.Security", "IaaSAntimalware"}} {
		texts = append(texts, fmt.Sprintf(`{"type":"Microsoft.Compute/virtualMachines/extensions","name":"vm/x","properties":{"publisher":%q,"type":%q,"provisioningState":"Succeeded","enableAutomaticUpgrade":true}}`, e[0], e[1]))
	}
	for _, text := range texts {
		r, err := policy.ParseResource(text, "")
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

var (
	images = [][4]string{
		{"Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", "Linux"}, {"Canonical", "UbuntuServer", "18.04-LTS", "Linux"},
		{"RedHat", "RHEL", "9-lvm-gen2", "Linux"}, {"Debian", "debian-12", "12-gen2", "Linux"}, {"SUSE", "sles-15-sp5", "gen2", "Linux"},
		{"OpenLogic", "CentOS", "7.9", "Linux"}, {"MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-azure-edition", "Windows"},
		{"MicrosoftWindowsServer", "WindowsServer", "2016-Datacenter", "Windows"}, {"MicrosoftSQLServer", "sql2019-ws2019", "enterprise", "Windows"},
	}
	sizes     = []string{"Standard_B2ms", "Standard_D4s_v5", "Standard_E8s_v5", "Standard_F4s_v2", "Standard_D2as_v4", "Standard_NC6s_v3"}
	locations = []string{"westeurope", "northeurope", "eastus", "eastus2", "southeastasia", "germanywestcentral"}
	diskKinds = []string{"Premium_LRS", "StandardSSD_LRS", "Standard_LRS", "UltraSSD_LRS"}
	owners    = []string{"team-web", "team-data", "team-pay", "platform", "security"}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// Subscription is where the machines are.
const Subscription = "6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10"

// Groups are how many resource groups the machines are spread over.
const Groups = 200

// Machine generates the i-th document of about 3.5 KB: images, sizes, disks, tags,
// identities and profiles vary as they do in an estate. The same seed and number
// give the same document.
func Machine(seed, i uint64) string {
	r := rand.New(rand.NewPCG(seed, i))
	var b strings.Builder
	image, name := pick(r, images), fmt.Sprintf("vm-%07d", i)
	group := fmt.Sprintf("/subscriptions/%s/resourceGroups/rg-%03d", Subscription, i%Groups)
	fmt.Fprintf(&b, `{"name":%q,"id":"%s/providers/Microsoft.Compute/virtualMachines/%s","type":"Microsoft.Compute/virtualMachines","location":%q,`, name, group, name, pick(r, locations))
	if r.IntN(3) > 0 {
		fmt.Fprintf(&b, `"zones":["%d"],`, 1+r.IntN(3))
	}
	fmt.Fprintf(&b, `"tags":{"environment":%q,"owner":"%s@example.com","created":"2026-%02d-%02dT09:12:44Z"`, pick(r, []string{"prod", "Production", "dev", "test"}), pick(r, owners), 1+r.IntN(11), 1+r.IntN(28))
	if r.IntN(4) > 0 {
		fmt.Fprintf(&b, `,"costCenter":"%d"`, 1000+r.IntN(9000))
	}
	b.WriteString(`},`)
	if r.IntN(5) > 0 {
		fmt.Fprintf(&b, `"identity":{"type":"SystemAssigned","principalId":"%s","tenantId":"72f988bf-86f1-41af-91ab-2d7cd011db47"},`, uuid(r))
	}
	fmt.Fprintf(&b, `"properties":{"vmId":"%s","provisioningState":"Succeeded","licenseType":"None","priority":"Regular","timeCreated":"2026-08-14T09:12:44.1234567+00:00","hardwareProfile":{"vmSize":%q},`, uuid(r), pick(r, sizes))
	if r.IntN(2) == 0 {
		fmt.Fprintf(&b, `"securityProfile":{"securityType":"TrustedLaunch","encryptionAtHost":%t,"uefiSettings":{"secureBootEnabled":true,"vTpmEnabled":%t}},`, r.IntN(2) == 0, r.IntN(2) == 0)
	}
	fmt.Fprintf(&b, `"storageProfile":{"imageReference":{"publisher":%q,"offer":%q,"sku":%q,"version":"latest","exactVersion":"1.0.%d"},`, image[0], image[1], image[2], r.IntN(1000))
	fmt.Fprintf(&b, `"osDisk":{"osType":%q,"name":"%s_OsDisk_1","createOption":"FromImage","caching":"ReadWrite","diskSizeGB":%d,"deleteOption":"Delete","managedDisk":{"storageAccountType":%q,"id":"%s/providers/Microsoft.Compute/disks/%s_OsDisk_1"}},"dataDisks":[`, image[3], name, 32<<r.IntN(4), pick(r, diskKinds), group, name)
	for lun := range r.IntN(5) {
		if lun > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"lun":%d,"name":"%s-data%d","createOption":"Attach","caching":"ReadOnly","diskSizeGB":%d,"deleteOption":"Detach","toBeDetached":false,"managedDisk":{"storageAccountType":%q,"id":"%s/providers/Microsoft.Compute/disks/%s-data%d"}}`, lun, name, lun, 64<<r.IntN(6), pick(r, diskKinds), group, name, lun)
	}
	fmt.Fprintf(&b, `]},"osProfile":{"computerName":%q,"adminUsername":"azureuser","allowExtensionOperations":true,"requireGuestProvisionSignal":true,"secrets":[],`, name)
	if image[3] == "Linux" {
		fmt.Fprintf(&b, `"linuxConfiguration":{"disablePasswordAuthentication":%t,"provisionVMAgent":true,"patchSettings":{"patchMode":"AutomaticByPlatform","assessmentMode":%q},"ssh":{"publicKeys":[{"path":"/home/azureuser/.ssh/authorized_keys"}]}}},`, r.IntN(2) == 0, pick(r, []string{"AutomaticByPlatform", "ImageDefault"}))
	} else {
		fmt.Fprintf(&b, `"windowsConfiguration":{"provisionVMAgent":true,"enableAutomaticUpdates":%t,"patchSettings":{"patchMode":"AutomaticByOS","assessmentMode":"ImageDefault"}}},`, r.IntN(2) == 0)
	}
	fmt.Fprintf(&b, `"networkProfile":{"networkInterfaces":[{"id":"%s/providers/Microsoft.Network/networkInterfaces/%s-nic","properties":{"primary":true,"deleteOption":"Detach"}}]},"diagnosticsProfile":{"bootDiagnostics":{"enabled":%t}}}}`, group, name, r.IntN(3) > 0)
	return b.String()
}

func uuid(r *rand.Rand) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xffff, r.Uint32()&0xffff, r.Uint64()&0xffffffffffff)
}
