package clients_test

import (
	"strings"
	"testing"
)

// scaleSets makes, scales, moves and removes scale sets whose instances are real machines.
func (s *suite) scaleSets(t *testing.T) {
	definition := s.golden[:strings.LastIndex(s.golden, "/versions/")]
	s.makeSet(t, "uni", "Uniform", definition)
	s.expect(t, "uni Uniform 2 Succeeded", "[?name=='uni'].[name,orchestrationMode,sku.capacity,provisioningState][]", "vmss", "list", "-g", "web")
	s.expect(t, "0 true 1 true", "[].[instanceId,latestModelApplied][]", "vmss", "list-instances", "-g", "web", "-n", "uni")
	s.expect(t, "PowerState/running", "statuses[1].code", "vmss", "get-instance-view", "-g", "web", "-n", "uni", "--instance-id", "1")
	if got := s.az.Query(t, "[].ipConfigurations[].privateIPAddress", "vmss", "nic", "list", "-g", "web", "--vmss-name", "uni"); len(strings.Fields(got)) != 2 {
		t.Errorf("two instances have the addresses %q", got)
	}
	s.az.Run(t, "vmss", "scale", "-g", "web", "-n", "uni", "--new-capacity", "1")
	s.expect(t, "0", "[].instanceId", "vmss", "list-instances", "-g", "web", "-n", "uni")
	s.az.Run(t, "vmss", "update", "-g", "web", "-n", "uni", "--set", "virtualMachineProfile.storageProfile.imageReference.id="+s.golden)
	s.expect(t, "false", "[].latestModelApplied", "vmss", "list-instances", "-g", "web", "-n", "uni")
	s.az.Run(t, "vmss", "update-instances", "-g", "web", "-n", "uni", "--instance-ids", "*")
	s.expect(t, "true "+s.golden, "[].[latestModelApplied,storageProfile.imageReference.id][]", "vmss", "list-instances", "-g", "web", "-n", "uni")
	s.powerOfSet(t, "uni")
	s.az.Run(t, "vmss", "delete-instances", "-g", "web", "-n", "uni", "--instance-ids", "0")
	s.expect(t, "0", "sku.capacity", "vmss", "show", "-g", "web", "-n", "uni")
	s.az.Run(t, "vmss", "delete", "-g", "web", "-n", "uni")
	s.refused(t, 3, []string{"ResourceNotFound"}, "vmss", "show", "-g", "web", "-n", "uni")

	s.makeSet(t, "flex", "Flexible", s.golden)
	members := s.az.Query(t, "[?starts_with(name, 'flex_')].name", "vm", "list", "-g", "web")
	s.expect(t, members, "[].instanceId", "vmss", "list-instances", "-g", "web", "-n", "flex")
	s.az.Run(t, "vmss", "delete", "-g", "web", "-n", "flex")
	s.expect(t, "", "[?starts_with(name, 'flex_')].name", "vm", "list", "-g", "web")
}

func (s *suite) makeSet(t *testing.T, name, mode, image string) {
	t.Helper()
	s.az.Run(t, "vmss", "create", "-g", "web", "-n", name, "--image", image, "--orchestration-mode", mode, "--vm-sku", "Standard_B1s",
		"--instance-count", "2", "--admin-username", "azureuser", "--generate-ssh-keys")
}

// powerOfSet stops an instance's process and has it again, with the same disk and a new one.
func (s *suite) powerOfSet(t *testing.T, name string) {
	t.Helper()
	state := func(want string) {
		t.Helper()
		s.expect(t, want, "[].statuses[1].code", "vmss", "get-instance-view", "-g", "web", "-n", name, "--instance-id", "*")
	}
	s.az.Run(t, "vmss", "stop", "-g", "web", "-n", name, "--skip-shutdown")
	state("PowerState/stopped")
	s.az.Run(t, "vmss", "start", "-g", "web", "-n", name)
	state("PowerState/running")
	s.az.Run(t, "vmss", "reimage", "-g", "web", "-n", name, "--instance-ids", "0")
	state("PowerState/running")
	s.az.Run(t, "vmss", "restart", "-g", "web", "-n", name)
	s.az.Run(t, "vmss", "deallocate", "-g", "web", "-n", name)
	state("PowerState/deallocated")
}
