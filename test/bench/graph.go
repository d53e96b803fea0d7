package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

// Goals of queries over 100,000 machines, in ms.
const (
	pushedGoal  = 250.0
	scannedGoal = 2000.0
	apiGraph    = "2022-10-01"
)

// graphQueries are what is asked; scanned are those that look into bodies.
var graphQueries = []struct {
	what, query string
	scanned     bool
}{
	{"one by name", "Resources | where type =~ 'Microsoft.Compute/virtualMachines' and name =~ 'vm-012345' | project id, properties.vmId", false},
	{"those of a group", "Resources | where type =~ 'Microsoft.Compute/virtualMachines' and resourceGroup =~ 'rg-077' | project name, location | order by name asc", false},
	{"those with a tag", "Resources | where type =~ 'Microsoft.Compute/virtualMachines' and tags['team'] =~ 'team-07' | project id, name", false},
	{"count by type and location", "Resources | summarize count() by type, location", false},
	{"the first 1,000 with all columns", "Resources | where type =~ 'Microsoft.Compute/virtualMachines'", false},
	{"those of a size", "Resources | where properties.hardwareProfile.vmSize =~ 'Standard_D4s_v5' | project name, location", true},
	{"count by image", "Resources | where type =~ 'Microsoft.Compute/virtualMachines' | summarize count() by tostring(properties.storageProfile.imageReference.id) | order by count_ desc", true},
	{"ten with the largest disks", "Resources | where isnotempty(properties.storageProfile.osDisk) | top 10 by toint(properties.storageProfile.osDisk.diskSizeGB) desc | project name, properties.osProfile.computerName", true},
}

// measureGraph asks a server that has 100,000 machines with the properties that
// machines have.
func (b *bench) measureGraph(ctx context.Context) (err error) {
	p, err := b.newPlane("graph")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove(context.WithoutCancel(ctx))) }()
	if err := errors.Join(p.up(ctx), p.down(ctx)); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, p.dir.Database())
	if err != nil {
		return err
	}
	if err := errors.Join(p.fill(ctx, s, p.fullDocument), s.Close()); err != nil {
		return err
	}
	if err := p.up(ctx); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil { // other work on the machine shows in the numbers anyway
		b.say("measuring all the same: %v", err)
	}
	for _, q := range graphQueries {
		if err := b.askGraph(ctx, p, q.what, q.query, q.scanned); err != nil {
			return err
		}
	}
	b.table.note("graph: server's peak of resident memory", fmt.Sprintf("%.0f MiB", peakMiB(p.server.PID)))
	return nil
}

func (b *bench) askGraph(ctx context.Context, p *plane, what, query string, scanned bool) error {
	var answer struct{ Count, TotalRecords int }
	times, err := repeat(7, func() error {
		return p.Do(ctx, azure.Request{Method: http.MethodPost, Path: "/providers/Microsoft.ResourceGraph/resources", APIVersion: apiGraph,
			Body: map[string]any{"query": query, "options": map[string]any{"$top": 1000}}}, &answer)
	})
	if err != nil {
		return err
	}
	goal := pushedGoal
	if scanned {
		goal = scannedGoal
	}
	b.say("%s: %d of %d rows", what, answer.Count, answer.TotalRecords)
	b.table.atMost("graph: "+what+", median, ms", milliseconds(times.median()), goal, "%.0f")
	return nil
}

// fullDocument is machine i with what a machine of Azure's has, about 3.5 KB.
func (p *plane) fullDocument(i int) *store.Document {
	d := p.document(i)
	sizes := []string{"Standard_D2s_v5", "Standard_D4s_v5", "Standard_B2ms", "Standard_E8s_v5", "Standard_F4s_v2"}
	group := d.ID[:strings.Index(d.ID, "/providers/")]
	name := d.ID[strings.LastIndexByte(d.ID, '/')+1:]
	image := fmt.Sprintf("/subscriptions/%s/resourceGroups/images/providers/Microsoft.Compute/galleries/golden/images/base-%d/versions/1.%d.0", p.server.Subscription, i%7, i%30)
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
