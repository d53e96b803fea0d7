package clients_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/test/outside"
)

// create makes a machine, word for word as the remediation of "Approved Azure Machine
// Image in Use" does.
func (s *suite) create(t *testing.T, name, image string) {
	t.Helper()
	s.az.Run(t, "vm", "create", "--resource-group", "web", "--name", name, "--image", image, "--size", "Standard_DS2_v2", "--admin-username", "azureuser", "--generate-ssh-keys")
}

// address is where a machine's network interface says that it is.
func (s *suite) address(t *testing.T, name string) string {
	t.Helper()
	nic := s.az.Query(t, "networkProfile.networkInterfaces[0].id", "vm", "show", "-g", "web", "-n", name)
	return s.az.Query(t, "ipConfigurations[0].privateIPAddress", "network", "nic", "show", "--ids", nic)
}

// ssh runs a command in a machine with the key that az has made, as soon as the
// machine lets it in.
func (s *suite) ssh(t *testing.T, name, command string) string {
	t.Helper()
	address, out := s.address(t, name), ""
	outside.Until(t, name+" answers over SSH", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, "ssh", "-i", filepath.Join(s.az.Home, ".ssh", "id_rsa"), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "azureuser@"+address, command)
		c.Env = []string{"HOME=" + s.az.Home, "PATH=/usr/bin:/bin"} // no agent, no configuration
		raw, err := c.Output()
		out = strings.TrimSpace(string(raw))
		return err == nil
	})
	return out
}

// seeds are the audit and the remediation of the rule "Approved Azure Machine Image in
// Use", verbatim, with an image named in each of the five ways.
func (s *suite) seeds(t *testing.T) {
	s.create(t, "model", s.golden)
	s.ssh(t, "model", "sudo rm -f /etc/motd.d/none; sync")
	s.az.Run(t, "vm", "deallocate", "-g", "web", "-n", "model")
	s.az.Run(t, "vm", "generalize", "-g", "web", "-n", "model")
	s.expect(t, "Succeeded", "provisioningState", "image", "create", "-g", "web", "-n", "managed", "--source", "model", "--hyper-v-generation", "V2")
	managed := s.az.Query(t, "id", "image", "show", "-g", "web", "-n", "managed")
	definition := s.golden[:strings.LastIndex(s.golden, "/versions/")]
	images := map[string]string{"by-name": "managed", "by-id": managed, "by-version": s.golden, "by-definition": definition, "by-urn": "Debian:debian-12:12-gen2:latest"}
	names := []string{"by-definition", "by-id", "by-name", "by-urn", "by-version"}
	for i, name := range names { // one after the other: side by side, emulated machines mostly wait for one another
		s.create(t, name, images[name])
		if got := s.ssh(t, name, "hostname"); got != name {
			t.Errorf("%s calls itself %q", name, got)
		}
		if i < 3 {
			s.az.Run(t, "vm", "deallocate", "-g", "web", "-n", name)
		}
	}
	s.seedAudit(t, managed, names)
	for _, name := range names[:3] {
		if r := s.az.Answer(t, "y\n", "vm", "delete", "--name", name, "--resource-group", "web"); r.Code != 0 {
			t.Errorf("az vm delete --name %s: %s", name, r)
		}
		s.refused(t, 3, []string{"ResourceNotFound"}, "vm", "show", "--name", name, "--resource-group", "web")
	}
	s.az.Run(t, "vm", "delete", "-g", "web", "-n", "model", "--yes")
}

func (s *suite) seedAudit(t *testing.T, managed string, names []string) {
	subscription := s.endpoint.Subscription
	s.expect(t, subscription, "[*].id", "account", "list")
	table := s.az.Run(t, "vm", "list", "--subscription", subscription, "--output", "table", "--query", "[*].{name:name, resourceGroup:resourceGroup}")
	for _, name := range names {
		if !slices.ContainsFunc(strings.Split(table, "\n"), func(l string) bool { return slices.Equal(strings.Fields(strings.ToLower(l)), []string{name, "web"}) }) {
			t.Errorf("az vm list does not show %s in web:\n%s", name, table)
		}
	}
	for name, want := range map[string]string{"by-name": managed, "by-id": managed, "by-version": s.golden, "by-urn": ""} {
		var image struct{ ImageID string } // a null leaves what is there
		s.az.Ask(t, &image, "vm", "show", "--name", name, "--resource-group", "web", "--query", `{"ImageId": storageProfile.imageReference.id}`)
		if !strings.EqualFold(image.ImageID, want) {
			t.Errorf("%s: ImageId %q, want %q", name, image.ImageID, want)
		}
	}
	var machine struct {
		Name            string
		HardwareProfile struct{ VMSize string }
		OSProfile       struct{ AdminUsername string }
	}
	s.az.Ask(t, &machine, "vm", "show", "--name", "by-version", "--resource-group", "web")
	if machine.Name != "by-version" || machine.HardwareProfile.VMSize != "Standard_DS2_v2" || machine.OSProfile.AdminUsername != "azureuser" {
		t.Errorf("az vm show: %+v", machine)
	}
	table = s.az.Run(t, "image", "list", "--subscription", subscription, "--output", "table", "--query", "[*].{name:name, resourceGroup:resourceGroup}")
	if !strings.Contains(strings.ToLower(strings.Join(strings.Fields(table), " ")), "managed web") {
		t.Errorf("az image list:\n%s", table)
	}
}
