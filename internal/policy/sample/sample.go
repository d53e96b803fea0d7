// Package sample holds a machine's document and five differently shaped rules
// over it, each with the same written by hand in Go: what benchmarks compare and
// tests agree on. Only tests and the benchmark module import it.
package sample

import (
	"fmt"
	"strings"
	"time"
)

// VM is a virtual machine as Azure returns it, about 3.5 KB.
const VM = `{
  "name": "vm-web-017", "id": "/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/resourceGroups/rg-web-prod/providers/Microsoft.Compute/virtualMachines/vm-web-017",
  "type": "Microsoft.Compute/virtualMachines", "location": "westeurope", "zones": ["2"],
  "tags": {"environment": "Production", "costCenter": "4711", "service-model": "cattle", "owner": "team-web@example.com", "patchWindow": "sunday-02", "created": "2026-08-14T09:12:44Z"},
  "identity": {"type": "SystemAssigned, UserAssigned", "principalId": "9b2f3c6e-6f0d-4c5a-8f4e-2f8f5f0c8a11", "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "userAssignedIdentities": {"/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/resourceGroups/rg-id/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-web": {"principalId": "1f0f6d6a-8d7a-4a57-9d2a-5d3c3f4a2b1c", "clientId": "5b6c7d8e-1a2b-4c3d-9e8f-0a1b2c3d4e5f"}}},
  "properties": {
    "vmId": "3f6a2d34-9a0b-4f7e-8a0e-0b9c6f2d7e11", "provisioningState": "Succeeded", "licenseType": "None", "priority": "Regular", "timeCreated": "2026-08-14T09:12:44.1234567+00:00",
    "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
    "securityProfile": {"securityType": "TrustedLaunch", "encryptionAtHost": true, "uefiSettings": {"secureBootEnabled": true, "vTpmEnabled": true}},
    "storageProfile": {
      "imageReference": {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": "latest", "exactVersion": "22.04.202608120"},
      "osDisk": {"osType": "Linux", "name": "vm-web-017_OsDisk_1", "createOption": "FromImage", "caching": "ReadWrite", "diskSizeGB": 64, "deleteOption": "Delete",
        "managedDisk": {"storageAccountType": "Premium_LRS", "id": "/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/resourceGroups/rg-web-prod/providers/Microsoft.Compute/disks/vm-web-017_OsDisk_1"}},
      "dataDisks": [
        {"lun": 0, "name": "vm-web-017-data0", "createOption": "Attach", "caching": "ReadOnly", "diskSizeGB": 256, "deleteOption": "Detach", "toBeDetached": false, "managedDisk": {"storageAccountType": "Premium_LRS", "id": "/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/resourceGroups/rg-web-prod/providers/Microsoft.Compute/disks/vm-web-017-data0"}},
        {"lun": 1, "name": "vm-web-017-data1", "createOption": "Attach", "caching": "None", "diskSizeGB": 1024, "deleteOption": "Detach", "toBeDetached": false, "managedDisk": {"storageAccountType": "StandardSSD_LRS", "id": "/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/resourceGroups/rg-web-prod/providers/Microsoft.Compute/disks/vm-web-017-data1"}}
      ]},
    "osProfile": {"computerName": "vm-web-017", "adminUsername": "azureuser", "allowExtensionOperations": true, "requireGuestProvisionSignal": true, "secrets": [],
      "linuxConfiguration": {"disablePasswordAuthentication": true, "provisionVMAgent": true, "patchSettings": {"patchMode": "AutomaticByPlatform", "assessmentMode": "AutomaticByPlatform"}, "ssh": {"publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys"}]}}},
    "networkProfile": {"networkInterfaces": [{"id": "/subscriptions/6f1d0b3a-4c0e-4a7e-9f57-1f4a7a3d2b10/resourceGroups/rg-web-prod/providers/Microsoft.Network/networkInterfaces/vm-web-017-nic", "properties": {"primary": true, "deleteOption": "Detach"}}]},
    "diagnosticsProfile": {"bootDiagnostics": {"enabled": true}}
  }
}`

// Rule is one rule.
type Rule struct {
	Name    string
	If      string // the condition in policy JSON
	Context string // JSON; "" if the rule asks for none
	// Hand is the same in Go, over the document as encoding/json decodes it, with
	// the same case folding for ASCII.
	Hand func(doc map[string]any) bool
}

// Now is the time that the rules' context gives.
const Now = "2026-11-22T00:00:00Z"

// Offers are the sixty image offers that one of the rules lists.
func Offers() []string {
	list := make([]string, 60)
	for i := range list {
		list[i] = fmt.Sprintf("0001-com-ubuntu-server-%02d", i)
	}
	list[41] = "0001-com-ubuntu-server-jammy"
	return list
}

func nestedAnyOf() string {
	var groups []string
	list := Offers()
	for i := 0; i < len(list); i += 10 {
		var parts []string
		for _, offer := range list[i : i+10] {
			parts = append(parts, `{"field":"Microsoft.Compute/imageOffer","equals":"`+offer+`"}`)
		}
		groups = append(groups, `{"anyOf":[`+strings.Join(parts, ",")+`]}`)
	}
	return `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/imagePublisher","equals":"canonical"},{"anyOf":[` + strings.Join(groups, ",") + `]}]}`
}

const vmType = "Microsoft.Compute/virtualMachines"

func sub(doc map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		next, ok := doc[k].(map[string]any)
		if !ok {
			return nil
		}
		doc = next
	}
	return doc
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func isVM(doc map[string]any) bool { return strings.EqualFold(text(doc, "type"), vmType) }

// Rules returns the five rules.
func Rules() []Rule {
	list := Offers()
	sizes := []string{"Standard_B2ms", "Standard_D2s_v5", "Standard_D4s_v5", "Standard_D8s_v5"}
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	return []Rule{
		{Name: "image tag size", If: `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
			{"anyOf":[{"field":"Microsoft.Compute/imagePublisher","notIn":["canonical","debian","redhat"]},{"field":"Microsoft.Compute/imageSku","notLike":"22_04*"},
			{"field":"tags['costCenter']","exists":false},{"field":"Microsoft.Compute/virtualMachines/sku.name","notIn":["Standard_B2ms","Standard_D2s_v5","Standard_D4s_v5","Standard_D8s_v5"]}]}]}`,
			Hand: func(doc map[string]any) bool {
				if !isVM(doc) {
					return false
				}
				image := sub(doc, "properties", "storageProfile", "imageReference")
				publisher := text(image, "publisher")
				if !strings.EqualFold(publisher, "canonical") && !strings.EqualFold(publisher, "debian") && !strings.EqualFold(publisher, "redhat") {
					return true
				}
				sku := text(image, "sku")
				if len(sku) < 5 || !strings.EqualFold(sku[:5], "22_04") {
					return true
				}
				if sub(doc, "tags")["costCenter"] == nil {
					return true
				}
				size := text(sub(doc, "properties", "hardwareProfile"), "vmSize")
				for _, s := range sizes {
					if strings.EqualFold(s, size) {
						return false
					}
				}
				return true
			}},
		{Name: "count disks", If: `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
			{"count":{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*]","where":{"allOf":[
			{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].managedDisk.storageAccountType","notEquals":"Premium_LRS"},
			{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB","greater":512}]}},"greater":0}]}`,
			Hand: func(doc map[string]any) bool {
				if !isVM(doc) {
					return false
				}
				disks, _ := sub(doc, "properties", "storageProfile")["dataDisks"].([]any)
				n := 0
				for _, d := range disks {
					disk, _ := d.(map[string]any)
					size, _ := disk["diskSizeGB"].(float64)
					if !strings.EqualFold(text(sub(disk, "managedDisk"), "storageAccountType"), "Premium_LRS") && size > 512 {
						n++
					}
				}
				return n > 0
			}},
		{Name: "nested anyOf", If: nestedAnyOf(),
			Hand: func(doc map[string]any) bool {
				if !isVM(doc) {
					return false
				}
				image := sub(doc, "properties", "storageProfile", "imageReference")
				if !strings.EqualFold(text(image, "publisher"), "canonical") {
					return false
				}
				offer := text(image, "offer")
				for _, o := range list {
					if strings.EqualFold(o, offer) {
						return true
					}
				}
				return false
			}},
		{Name: "implicit allOf", If: `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
			{"not":{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].managedDisk.storageAccountType","like":"Premium*"}},
			{"field":"Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].diskSizeGB","lessOrEquals":4096}]}`,
			Hand: func(doc map[string]any) bool {
				if !isVM(doc) {
					return false
				}
				disks, _ := sub(doc, "properties", "storageProfile")["dataDisks"].([]any)
				premium := true
				for _, d := range disks {
					disk, _ := d.(map[string]any)
					kind := text(sub(disk, "managedDisk"), "storageAccountType")
					if len(kind) < 7 || !strings.EqualFold(kind[:7], "premium") {
						premium = false
						break
					}
				}
				if premium {
					return false
				}
				for _, d := range disks {
					disk, _ := d.(map[string]any)
					if size, ok := disk["diskSizeGB"].(float64); !ok || size > 4096 {
						return false
					}
				}
				return true
			}},
		{Name: "functions", Context: `{"utcNow":"` + Now + `"}`, If: `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},
			{"value":"[concat(field('tags.environment'), '-', field('tags.costCenter'))]","equals":"production-4711"},
			{"value":"[addDays(field('tags.created'), 90)]","less":"[utcNow()]"}]}`,
			Hand: func(doc map[string]any) bool {
				if !isVM(doc) {
					return false
				}
				tags := sub(doc, "tags")
				if !strings.EqualFold(text(tags, "environment")+"-"+text(tags, "costCenter"), "production-4711") {
					return false
				}
				created, err := time.Parse(time.RFC3339, text(tags, "created"))
				return err == nil && created.AddDate(0, 0, 90).Before(now)
			}},
	}
}
