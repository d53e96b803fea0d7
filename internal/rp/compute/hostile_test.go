package compute_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/store/mem"
)

// FuzzDocuments puts anything under every type: whatever is wrong with it is the client's
// mistake, never a 5xx.
func FuzzDocuments(f *testing.F) {
	for _, body := range []string{
		`{"location":"local"}`,
		`{"location":"local","properties":{"storageProfile":"x","osProfile":7,"networkProfile":[],"hardwareProfile":null}}`,
		`{"location":"local","properties":{"storageProfile":{"osDisk":[],"dataDisks":{},"imageReference":"y"}}}`,
		`{"location":"local","properties":{"storageProfile":{"dataDisks":[7,{"lun":"x"},null]},"networkProfile":{"networkInterfaces":[7]}}}`,
		`{"location":"local","properties":{"storageProfile":{"imageReference":{"id":"/subscriptions/a/providers/Microsoft.Compute/locations/l"}},"osProfile":{"linuxConfiguration":[]}}}`,
		`{"location":"local","properties":{"creationData":{"createOption":"Copy","sourceResourceId":"/../x"},"diskSizeGB":-1}}`,
		`{"location":"local","properties":{"creationData":{"createOption":"FromImage","imageReference":7},"diskSizeGB":1e30}}`,
		`{"location":"local","sku":7,"properties":{"encryption":7,"hallmark":7}}`,
		`{"location":"local","properties":{"sourceVirtualMachine":{"id":"x"},"storageProfile":{"osDisk":7}}}`,
		`{"location":"local","properties":{"addressSpace":7,"subnets":[{"properties":7},7]}}`,
		`{"location":"local","properties":{"ipConfigurations":[{"properties":{"subnet":7}}]}}`,
		`{"location":"local","properties":{"ipConfigurations":{},"networkSecurityGroup":"x"}}`,
		`{"location":"local","properties":{"securityRules":7}}`,
		`{"location":"local","sku":{"name":"Standard_B1s","capacity":"2"},"properties":{"virtualMachineProfile":{"networkProfile":{"networkInterfaceConfigurations":[7,{"properties":{"ipConfigurations":7}}]}}}}`,
		`{"location":"local","sku":{"name":"Standard_B1s","capacity":1},"properties":{"orchestrationMode":"Flexible","virtualMachineProfile":{"storageProfile":{"dataDisks":[null,7]},"osProfile":{"computerNamePrefix":7}}}}`,
		`{"location":"local","sku":{"capacity":1},"instanceIds":["*",""],"hallmarkMember":{"passwordHash":"x"},"properties":{"upgradePolicy":7,"virtualMachineProfile":[],"virtualMachineScaleSet":{"id":"/x"}}}`,
		`{"location":"local","sku":{"name":"Standard_B1s"},"properties":{"virtualMachineProfile":{},"upgradePolicy":{"mode":"Rolling","rollingUpgradePolicy":{"pauseTimeBetweenBatches":"PT-1S"}}}}`,
	} {
		f.Add(body)
	}
	r := start(f, newWorld(), mem.New())
	var run atomic.Int64
	f.Fuzz(func(t *testing.T, body string) {
		n := run.Add(1)
		for i, typ := range []arm.Type{compute.TypeVM, compute.TypeDisk, compute.TypeSnapshot, compute.TypeImage, network.TypeVirtualNetwork,
			network.TypeInterface, network.TypePublicAddress, network.TypeSecurityGroup, compute.TypeScaleSet} {
			at := id(typ, fmt.Sprintf("n%d-%d", n, i))
			for _, method := range []string{"PUT", "PUT", "PATCH"} { // also on what is there
				if status, _, got := r.Do(t, method, at.String()+computeVersion, body); status >= 500 {
					t.Errorf("%s %s: %d %s", method, typ, status, got)
				}
			}
			for _, action := range []string{"runCommand", "start", "join", "leave", "reset", "manualupgrade", "delete", "reimage", "applyModel", "rollingUpgrades/cancel"} {
				if status, _, got := r.Do(t, "POST", at.String()+"/"+action+computeVersion, body); status >= 500 {
					t.Errorf("POST %s/%s: %d %s", typ, action, status, got)
				}
			}
		}
	})
}

// A name that is no file name never becomes one.
func TestHostileNames(t *testing.T) {
	r := fresh(t)
	for _, name := range []string{"..", "a%2F..%2Fb", "a%00b", "-x", strings.Repeat("x", 65), "a b", "a;b"} {
		at := providertest.Group().String() + "/providers/" + string(compute.TypeVM) + "/" + name
		if status, _, got := r.Do(t, "PUT", at+computeVersion, json.RawMessage(`{"location":"local"}`)); status < 400 || status >= 500 {
			t.Errorf("%q: %d %s", name, status, got)
		}
	}
}
