package compute_test

import (
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/compute"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/rp/recorded"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/test/outside"
)

// TestAzureCLIScaleSets drives scale sets with the real Azure CLI, which makes them
// through deployments.
func TestAzureCLIScaleSets(t *testing.T) {
	w := newWorld()
	cfg := w.config()
	networks := network.Config{Prefix: netip.MustParsePrefix("192.0.2.0/24")}
	key, err := secret.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	real := []provider.Provider{compute.New(cfg), network.New(networks), network.NewScaleSets(networks), galleries(),
		deployments.New(deployments.Config{Sealer: key, TenantID: "tenant", URL: "https://hallmark.test"})}
	rest, err := recorded.New(recorded.Config{Real: real})
	if err != nil {
		t.Fatal(err)
	}
	s := providertest.Start(t, providertest.With(append(real, rest)...))
	c := azScaleSet{T: t, rig: &rig{s, w, t}, az: azOf(t, s)}
	t.Run("Uniform", func(t *testing.T) { c.T = t; c.uniform() })
	t.Run("Flexible", func(t *testing.T) { c.T = t; c.flexible() })
}

// azOf is the Azure CLI that HALLMARK_AZ names, signed in as the Owner.
func azOf(t *testing.T, s *providertest.Server) *outside.Az {
	t.Helper()
	dir := t.TempDir()
	e := &outside.Endpoint{Endpoint: s.URL, Tenant: s.TenantID, ClientID: s.AppID, SecretFile: filepath.Join(dir, "secret"), CAFile: filepath.Join(dir, "ca.crt")}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate.Raw})
	for name, data := range map[string][]byte{e.SecretFile: []byte(s.Secret), e.CAFile: ca} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	az := outside.AzAt(t, e, fmt.Sprintf(`{"profile":"latest","endpoints":{"resourceManager":"%[1]s","microsoftGraphResourceId":"%[1]s/graph/","vmImageAliasDoc":"%[1]s/aliases.json"},
		"suffixes":{"storageEndpoint":"local.invalid","keyvaultDns":".vault.local.invalid"}}`, s.URL))
	az.SignIn(t, e)
	return az
}

type azScaleSet struct {
	*testing.T
	rig *rig
	az  *outside.Az
}

// is runs a command on the set and compares what a query finds, as words.
func (c azScaleSet) is(want, query, set string, command ...string) {
	c.Helper()
	args := append(append([]string{"vmss"}, command...), "-g", "rg", "-n", set)
	if got := c.az.Query(c.T, query, args...); got != want {
		c.Errorf("az %s: %s is %q, want %q", strings.Join(args, " "), query, got, want)
	}
	c.rig.finish()
}

// does runs a command on the set and looks at how many machines run.
func (c azScaleSet) does(run int, set string, command ...string) {
	c.Helper()
	args := append(append([]string{"vmss"}, command...), "-g", "rg", "-n", set)
	c.az.Run(c.T, args...)
	c.rig.finish()
	if n := len(c.rig.w.machines); n != run {
		c.Errorf("after az %s %d machines run, want %d", strings.Join(args, " "), n, run)
	}
}

func (c azScaleSet) create(name, mode string) {
	c.Helper()
	c.does(2, name, "create", "--image", "Debian:debian-12:12-gen2:latest", "--orchestration-mode", mode, "--vm-sku", "Standard_B1s",
		"--instance-count", "2", "--admin-username", "azureuser", "--ssh-key-values", sshKey, "--custom-data", "hello", "--tags", "team=web", "--public-ip-per-vm")
	for _, m := range c.rig.w.machines {
		if string(m.Guest.CustomData) != "hello" || len(m.Guest.SSHKeys) != 1 {
			c.Errorf("the guest is told %+v", m.Guest)
		}
	}
}

func (c azScaleSet) uniform() {
	c.create("web", "Uniform")
	if got := c.az.Query(c.T, "[].[name,orchestrationMode,sku.capacity,provisioningState][]", "vmss", "list"); got != "web Uniform 2 Succeeded" {
		c.Errorf("az vmss list: %v", got)
	}
	c.is("0 web_0 true 1 web_1 true", "[].[instanceId,name,latestModelApplied][]", "web", "list-instances")
	c.is("ProvisioningState/succeeded 2", "virtualMachine.statusesSummary[].[code,count][]", "web", "get-instance-view")
	c.is("PowerState/running", "statuses[1].code", "web", "get-instance-view", "--instance-id", "0")
	c.is("PowerState/running PowerState/running", "[].statuses[1].code", "web", "get-instance-view", "--instance-id", "*")
	c.is("web_1", "name", "web", "show", "--instance-id", "1")
	c.does(3, "web", "scale", "--new-capacity", "3")
	c.does(2, "web", "deallocate", "--instance-ids", "1")
	c.does(3, "web", "start")
	c.does(1, "web", "stop", "--instance-ids", "0", "2")
	c.does(3, "web", "start", "--instance-ids", "0", "2")
	c.does(3, "web", "restart")
	c.does(3, "web", "reimage", "--instance-ids", "0")
	c.does(3, "web", "update", "--instance-id", "2", "--protect-from-scale-in", "true")
	c.does(2, "web", "delete-instances", "--instance-ids", "0")
	c.does(1, "web", "scale", "--new-capacity", "1")
	c.is("2 true", "[].[instanceId,protectionPolicy.protectFromScaleIn][]", "web", "list-instances")

	image := c.rig.publish("1.0.0", "").String()
	c.does(1, "web", "update", "--set", "virtualMachineProfile.storageProfile.imageReference.id="+image, "tags.cost=low")
	c.is("false", "[].latestModelApplied", "web", "list-instances")
	c.does(1, "web", "update-instances", "--instance-ids", "*")
	c.is("true "+image, "[].[latestModelApplied,storageProfile.imageReference.id][]", "web", "list-instances")
	c.is("web low", "[tags.team,tags.cost]", "web", "show")
	if got := c.az.Query(c.T, "[].ipConfigurations[].privateIPAddress", "vmss", "nic", "list", "-g", "rg", "--vmss-name", "web"); !strings.HasPrefix(got, "192.0.2.") || strings.Contains(got, " ") {
		c.Errorf("az vmss nic list: %v", got)
	}
	if got := c.az.Query(c.T, "[].ipAddress", "vmss", "list-instance-public-ips", "-g", "rg", "-n", "web"); !strings.HasPrefix(got, "192.0.2.") {
		c.Errorf("az vmss list-instance-public-ips: %q", got)
	}
	c.does(0, "web", "delete")
	if n := len(c.rig.w.volumes); n != 0 {
		c.Errorf("%d volumes are left", n)
	}
}

func (c azScaleSet) flexible() {
	c.create("flex", "Flexible")
	c.is("Flexible 2", "[orchestrationMode,sku.capacity]", "flex", "show")
	names := c.az.Query(c.T, "[].name", "vm", "list", "-g", "rg")
	c.is(names, "[].instanceId", "flex", "list-instances")
	c.does(1, "flex", "scale", "--new-capacity", "1")
	c.does(0, "flex", "deallocate")
	c.does(1, "flex", "start")
	c.does(1, "flex", "update-instances", "--instance-ids", "*")
	c.does(0, "flex", "delete")
	if left := c.az.Query(c.T, "[].name", "vm", "list", "-g", "rg"); left != "" {
		c.Errorf("machines are left: %v", left)
	}
}
