package resourcegraph_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

const machineType = "Microsoft.Compute/virtualMachines"

// fullDocument is machine i with what a machine of Azure's has, about 3.5 KB.
func fullDocument(i int) *store.Document {
	d := &store.Document{ID: fmt.Sprintf(subscription+"/resourceGroups/rg-%03d/providers/"+machineType+"/vm-%06d", i%200, i), Type: machineType, SubscriptionID: providertest.Subscription, ResourceGroup: fmt.Sprintf("rg-%03d", i%200), Location: "local"}
	group := d.ID[:strings.Index(d.ID, "/providers/")]
	name := d.ID[strings.LastIndexByte(d.ID, '/')+1:]
	image := fmt.Sprintf("/subscriptions/%s/resourceGroups/images/providers/Microsoft.Compute/galleries/golden/images/base-%d/versions/1.%d.0", providertest.Subscription, i%7, i%30)
	sizes := []string{"Standard_D2s_v5", "Standard_D4s_v5", "Standard_B2ms", "Standard_E8s_v5", "Standard_F4s_v2"}
	disk := func(n int) map[string]any {
		return map[string]any{"lun": n, "name": fmt.Sprintf("%s-data-%d", name, n), "createOption": "Attach", "caching": "ReadOnly", "writeAcceleratorEnabled": false, "deleteOption": "Detach", "diskSizeGB": 64 << n,
			"managedDisk": map[string]any{"id": fmt.Sprintf("%s/providers/Microsoft.Compute/disks/%s-data-%d", group, name, n), "storageAccountType": "Premium_LRS"}, "toBeDetached": false}
	}
	extension := func(n string) map[string]any {
		return map[string]any{"name": n, "id": d.ID + "/extensions/" + n, "type": "Microsoft.Compute/virtualMachines/extensions", "location": "eastus",
			"properties": map[string]any{"publisher": "Microsoft.Azure.Monitor", "type": n, "typeHandlerVersion": "1.0", "autoUpgradeMinorVersion": true, "provisioningState": "Succeeded"}}
	}
	d.Tags = map[string]string{"team": fmt.Sprintf("team-%02d", i%40), "stage": []string{"dev", "test", "prod"}[i%3]}
	d.Body, _ = json.Marshal(map[string]any{ // nothing in it fails
		"id": d.ID, "name": name, "type": machineType, "location": "eastus", "tags": d.Tags, "zones": []string{"1"},
		"identity": map[string]any{"type": "SystemAssigned", "principalId": fmt.Sprintf("%08d-0000-0000-0000-000000000000", i), "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47"},
		"properties": map[string]any{
			"provisioningState": "Succeeded", "vmId": fmt.Sprintf("%08d-1111-2222-3333-444444444444", i), "timeCreated": time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC),
			"hardwareProfile": map[string]any{"vmSize": sizes[i%len(sizes)]}, "additionalCapabilities": map[string]any{"ultraSSDEnabled": false, "hibernationEnabled": false},
			"storageProfile": map[string]any{"imageReference": map[string]any{"id": image, "exactVersion": fmt.Sprintf("1.%d.0", i%30)}, "diskControllerType": "SCSI",
				"osDisk":    map[string]any{"osType": "Linux", "name": name + "-os", "createOption": "FromImage", "caching": "ReadWrite", "deleteOption": "Delete", "diskSizeGB": 30 + i%200, "managedDisk": map[string]any{"id": group + "/providers/Microsoft.Compute/disks/" + name + "-os", "storageAccountType": "Premium_LRS"}},
				"dataDisks": []any{disk(0), disk(1)}},
			"osProfile": map[string]any{"computerName": name, "adminUsername": "azureuser", "allowExtensionOperations": true, "requireGuestProvisionSignal": true, "secrets": []any{},
				"linuxConfiguration": map[string]any{"disablePasswordAuthentication": true, "provisionVMAgent": true, "patchSettings": map[string]any{"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"},
					"ssh": map[string]any{"publicKeys": []any{map[string]any{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 " + strings.Repeat("A", 68)}}}}},
			"networkProfile":     map[string]any{"networkInterfaces": []any{map[string]any{"id": group + "/providers/Microsoft.Network/networkInterfaces/" + name + "-nic", "properties": map[string]any{"primary": true, "deleteOption": "Delete"}}}},
			"securityProfile":    map[string]any{"securityType": "TrustedLaunch", "uefiSettings": map[string]any{"secureBootEnabled": true, "vTpmEnabled": true}},
			"diagnosticsProfile": map[string]any{"bootDiagnostics": map[string]any{"enabled": true}},
		},
		"resources": []any{extension("AzureMonitorLinuxAgent"), extension("AADSSHLoginForLinux")},
	})
	return d
}

// BenchmarkQueries asks a server with 100,000 machines over HTTPS, in this process: the
// processor time (cpu-ms/op) is that of server and client, and says what a busy machine's
// clock hides.
//
//	go test -run xxx -bench Queries -benchtime 3x ./internal/rp/resourcegraph
func BenchmarkQueries(b *testing.B) {
	st, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "s.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	for i := 0; i < 100_000; i += 1000 {
		if err := st.Update(b.Context(), func(tx store.Tx) error {
			for j := range 1000 {
				if err := tx.Put(fullDocument(i+j), store.Absent); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	s := start(b, st)
	for n, q := range []string{
		"Resources | where type =~ 'Microsoft.Compute/virtualMachines' and name =~ 'vm-012345' | project id, properties.vmId",
		"Resources | where type =~ 'Microsoft.Compute/virtualMachines' and resourceGroup =~ 'rg-077' | project name, location | order by name asc",
		"Resources | where type =~ 'Microsoft.Compute/virtualMachines' and tags['team'] =~ 'team-07' | project id, name",
		"Resources | summarize count() by type, location",
		"Resources | where type =~ 'Microsoft.Compute/virtualMachines'",
		"Resources | where properties.hardwareProfile.vmSize =~ 'Standard_D4s_v5' | project name, location",
		"Resources | where type =~ 'Microsoft.Compute/virtualMachines' | summarize count() by tostring(properties.storageProfile.imageReference.id) | order by count_ desc",
		"Resources | where isnotempty(properties.storageProfile.osDisk) | top 10 by toint(properties.storageProfile.osDisk.diskSizeGB) desc | project name, properties.osProfile.computerName",
	} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var u0, u1 syscall.Rusage
			syscall.Getrusage(0, &u0)
			defer func() {
				syscall.Getrusage(0, &u1)
				b.ReportMetric(float64(u1.Utime.Nano()+u1.Stime.Nano()-u0.Utime.Nano()-u0.Stime.Nano())/1e6/float64(b.N), "cpu-ms/op")
			}()
			for b.Loop() {
				if status, _, body := s.Do(b, "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{"query": q, "options": map[string]any{"$top": 1000}}); status != 200 {
					b.Fatalf("%d: %s", status, body)
				}
			}
		})
	}
}
