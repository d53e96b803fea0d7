package clients_test

import (
	"strings"
	"testing"
)

// vm does to one machine what its owner does, and looks from inside what came of it.
func (s *suite) vm(t *testing.T) {
	const name = "by-version"
	of := func(verb string, more ...string) []string {
		return append(append(append([]string{"vm"}, strings.Fields(verb)...), "-g", "web", "-n", name), more...)
	}
	inside := func(command string) string { t.Helper(); return s.ssh(t, name, command) }
	address := s.address(t, name)
	s.expect(t, address, "[0].virtualMachine.network.privateIpAddresses[0]", of("list-ip-addresses")...)
	s.expect(t, "VM running", "instanceView.statuses[?starts_with(code, 'PowerState/')].displayStatus", of("get-instance-view")...)
	s.expect(t, "blue", "tags.team", of("update", "--set", "tags.team=blue")...)

	opened := s.az.Query(t, "securityRules[?name=='open-port-8080'].destinationPortRange", of("open-port", "--port", "8080", "--priority", "900")...)
	if shown := s.az.Query(t, "securityRules[?priority==`900`].destinationPortRange", "network", "nsg", "show", "-g", "web", "-n", name+"NSG"); opened != "8080" || shown != "8080" {
		t.Errorf("az vm open-port: %q; the group then has %q", opened, shown)
	}
	message := s.az.Query(t, "value[0].message", "vm", "run-command", "invoke", "-g", "web", "-n", name, "--command-id", "RunShellScript", "--scripts", "cat /etc/motd")
	if !strings.Contains(message, "made of gold") {
		t.Errorf("run-command says %q", message)
	}
	s.expect(t, "Succeeded", "provisioningState", "vm", "extension", "set", "-g", "web", "--vm-name", name, "--name", "CustomScript", "--publisher", "Microsoft.Azure.Extensions", "--version", "2.1",
		"--settings", `{"commandToExecute": "echo extended > /etc/extended"}`)
	if got := inside("cat /etc/extended"); got != "extended" {
		t.Errorf("the extension has left %q", got)
	}
	s.expect(t, "CustomScript", "[].name", "vm", "extension", "list", "-g", "web", "--vm-name", name)
	s.expect(t, "Succeeded", "provisioningState", "vm", "extension", "show", "-g", "web", "--vm-name", name, "-n", "CustomScript")
	s.az.Run(t, "vm", "extension", "delete", "-g", "web", "--vm-name", name, "-n", "CustomScript")

	s.token(t, name, inside)

	s.az.Run(t, "vm", "disk", "attach", "-g", "web", "--vm-name", name, "--name", "data", "--new", "--size-gb", "1", "--lun", "3")
	if got := inside(`lsblk -bdno SERIAL,SIZE | awk '$1 == "lun3" {print $2}'`); got != "1073741824" {
		t.Errorf("the attached disk has %q bytes", got)
	}
	s.expect(t, "3", "storageProfile.dataDisks[].lun", of("show")...)
	s.az.Run(t, "vm", "disk", "detach", "-g", "web", "--vm-name", name, "--name", "data")
	s.expect(t, "Unattached", "diskState", "disk", "show", "-g", "web", "-n", "data")
	s.expect(t, "2", "diskSizeGB", "disk", "update", "-g", "web", "-n", "data", "--size-gb", "2")
	s.expect(t, "Succeeded", "provisioningState", "snapshot", "create", "-g", "web", "-n", "shot", "--source", "data")
	s.expect(t, "shot", "[].name", "snapshot", "list", "-g", "web")
	s.az.Run(t, "snapshot", "delete", "-g", "web", "-n", "shot")
	s.az.Run(t, "disk", "delete", "-g", "web", "-n", "data", "--yes")
	s.snapshotWhileRunning(t, name, inside)
	s.power(t, name, of)
}

// snapshotWhileRunning takes the system disk as it is while the machine writes to it, and
// has the machine look into the copy.
func (s *suite) snapshotWhileRunning(t *testing.T, name string, inside func(string) string) {
	inside("echo before | sudo tee /etc/moment; sync")
	system := s.az.Query(t, "storageProfile.osDisk.managedDisk.id", "vm", "show", "-g", "web", "-n", name)
	s.expect(t, "Succeeded", "provisioningState", "snapshot", "create", "-g", "web", "-n", "live", "--source", system)
	inside("echo after | sudo tee /etc/moment; sync")
	s.az.Run(t, "disk", "create", "-g", "web", "-n", "past", "--source", "live")
	s.az.Run(t, "vm", "disk", "attach", "-g", "web", "--vm-name", name, "--name", "past", "--lun", "5")
	looked := inside(`for p in $(lsblk -rno PATH /dev/$(lsblk -dno NAME,SERIAL | awk '$2 == "lun5" {print $1}')); do
  sudo mount -o ro,noload $p /mnt 2>/dev/null && { cat /mnt/etc/moment 2>/dev/null; sudo umount /mnt; }; done; cat /etc/moment`)
	if strings.Join(strings.Fields(looked), " ") != "before after" {
		t.Errorf("the copy and the machine have %q", looked)
	}
	s.az.Run(t, "vm", "disk", "detach", "-g", "web", "--vm-name", name, "--name", "past")
	s.az.Run(t, "disk", "delete", "-g", "web", "-n", "past", "--yes")
	s.az.Run(t, "snapshot", "delete", "-g", "web", "-n", "live")
}

func (s *suite) power(t *testing.T, name string, of func(string, ...string) []string) {
	power := func(want string) {
		t.Helper()
		s.expect(t, want, "powerState", of("show", "-d")...)
	}
	s.az.Run(t, of("stop")...)
	power("VM stopped")
	s.az.Run(t, of("start")...)
	power("VM running")
	s.ssh(t, name, "sudo touch /etc/will-be-gone; sync")
	s.az.Run(t, of("restart")...)
	s.ssh(t, name, "true")
	if log := s.az.Run(t, of("boot-diagnostics get-boot-log")...); !strings.Contains(log, "Linux version") {
		t.Errorf("the boot log has no kernel in it: %.300s", log)
	}
	s.az.Run(t, of("reimage")...)
	if got := s.ssh(t, name, "ls /etc/will-be-gone /etc/extended 2>/dev/null | wc -l"); got != "0" {
		t.Errorf("%s files have outlived az vm reimage", got)
	}
	s.az.Run(t, of("deallocate")...)
	power("VM deallocated")
	s.az.Run(t, of("delete", "--yes")...)
}
