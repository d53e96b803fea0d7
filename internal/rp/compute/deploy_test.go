package compute_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/store/mem"
)

// deploying is a server with compute, network, deployments and policies.
func deploying(t *testing.T) *rig {
	t.Helper()
	w, db := newWorld(), mem.New()
	index := assignment.New(db, nil)
	s := providertest.Start(t, providertest.WithStore(db), providertest.WithAdmitter(admission.New(admission.Config{Store: db, Index: index})),
		providertest.With(compute.New(w.config()), network.New(network.Config{Prefix: netip.MustParsePrefix("192.0.2.0/24")}), galleries(),
			authorization.New(authorization.Config{TenantID: "t"}), deployments.New(deployments.Config{Sealer: sealer{}})))
	return &rig{s, w, t}
}

// TestAzureCLICreatesMachine is az vm create against the real provider of machines,
// whose engines only are fakes.
func TestAzureCLICreatesMachine(t *testing.T) {
	r := deploying(t)
	az := providertest.AzureCLI(t, r.Server)
	version := r.publish("1.0.0", "").String()
	create := []string{"vm", "create", "-g", providertest.ResourceGroup, "--image", version, "--size", "Standard_B1s", "--admin-username", "azureuser", "--generate-ssh-keys"}
	out, code := az.Try(t, append(create, "-n", "web")...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	var made struct{ PowerState, PrivateIPAddress string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.PowerState != "VM running" || !strings.HasPrefix(made.PrivateIPAddress, "192.0.2.") {
		t.Errorf("%v: %s", err, out)
	}
	if len(r.w.machines) != 1 {
		t.Errorf("%d machines run", len(r.w.machines))
	}
	r.deny(t, `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"tags['team']","exists":false}]}`)
	if out, code := az.Try(t, append(create, "-n", "rogue")...); code != 1 || !strings.Contains(out, "RequestDisallowedByPolicy") {
		t.Errorf("exit code %d: %s", code, out)
	}
	az.Run(t, "vm", "delete", "-g", providertest.ResourceGroup, "-n", "web", "--yes")
}

func (r *rig) deny(t *testing.T, rule string) {
	t.Helper()
	c := r.Client
	c.APIVersion = "2023-04-01"
	sub := arm.SubscriptionID(providertest.Subscription)
	def := sub.Resource(assignment.TypeDefinition, "deny")
	if _, err := c.Put(t.Context(), def, json.RawMessage(`{"properties":{"mode":"Indexed","policyRule":{"if":`+rule+`,"then":{"effect":"deny"}}}}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), sub.Resource(assignment.TypeAssignment, "deny"), json.RawMessage(`{"properties":{"policyDefinitionId":"`+def.String()+`"}}`)); err != nil {
		t.Fatal(err)
	}
}

// A check of a machine whose interface does not exist yet, as before a deployment, says
// what policies say of the whole document and changes nothing.
func TestCheckBeforeWhatItNeeds(t *testing.T) {
	r := deploying(t)
	version := r.publish("1.0.0", "").String()
	body := json.RawMessage(`{"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},"storageProfile":{"imageReference":{"id":"` + version + `"},"osDisk":{"createOption":"FromImage"}},
		"osProfile":{"computerName":"web","adminUsername":"azureuser","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"keyData":"ssh-ed25519 AAAA","path":"/home/azureuser/.ssh/authorized_keys"}]}}},
		"networkProfile":{"networkInterfaces":[{"id":"` + id("Microsoft.Network/networkInterfaces", "none").String() + `"}]}}}`)
	if err := r.Client.Check(t.Context(), vmID("web"), body); err != nil {
		t.Errorf("nothing stands against it: %v", err)
	}
	r.deny(t, `{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType","equals":"Linux"}]}`)
	if err := r.Client.Check(t.Context(), vmID("web"), body); err == nil || !strings.Contains(err.Error(), "RequestDisallowedByPolicy") {
		t.Errorf("got %v, want the policy's refusal: the default of osType is known", err)
	}
	if _, err := r.Client.Get(t.Context(), vmID("web")); !arm.IsNotFound(err) {
		t.Errorf("the check has made something: %v", err)
	}
}
