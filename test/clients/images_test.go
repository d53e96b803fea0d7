package clients_test

import (
	"fmt"
	"strings"
	"testing"
)

// marketplace looks for an image as somebody does who does not know its name.
func (s *suite) marketplace(t *testing.T) {
	at := []string{"-l", "eastus"}
	image := func(verb string, more ...string) []string {
		return append(append([]string{"vm", "image", verb}, at...), more...)
	}
	s.expect(t, "Debian", "[?name=='Debian'].name", image("list-publishers")...)
	s.expect(t, "debian-12", "[?name=='debian-12'].name", image("list-offers", "-p", "Debian")...)
	s.expect(t, "12-gen2", "[?name=='12-gen2'].name", image("list-skus", "-p", "Debian", "-f", "debian-12")...)
	urn := s.az.Query(t, "[?sku=='12-gen2']|[0].urn", image("list", "--all", "-p", "Debian", "-f", "debian-12")...)
	if !strings.HasPrefix(urn, "Debian:debian-12:12-gen2:12.") {
		t.Errorf("az vm image list --all names %q", urn)
	}
	s.expect(t, "V2 Linux", "[hyperVGeneration, osDiskImage.operatingSystem]", image("show", "--urn", "Debian:debian-12:12-gen2:latest")...)
	if sizes := s.az.Query(t, "[].name", append([]string{"vm", "list-sizes"}, at...)...); !strings.Contains(sizes, "Standard_DS2_v2") {
		t.Errorf("az vm list-sizes: %s", sizes)
	}
	if skus := s.az.Query(t, "[].name", append([]string{"vm", "list-skus"}, at...)...); !strings.Contains(skus, "Standard_DS2_v2") {
		t.Errorf("az vm list-skus: %s", skus)
	}
}

const imageTemplate = `{"type": "Microsoft.VirtualMachineImages/imageTemplates", "location": "eastus", "properties": {
  "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"},
  "customize": [{"type": "Shell", "name": "greet", "inline": ["%s"]}],
  "distribute": [{"type": "ManagedImage", "runOutputName": "out", "location": "eastus", "imageId": "%s"}]}}`

// imageBuilder builds a template as it was written for Azure.
func (s *suite) imageBuilder(t *testing.T) {
	image := strings.TrimSuffix(s.endpoint.Group(""), "hallmark") + "web/providers/Microsoft.Compute/images/built"
	builder := func(verb, name string, more ...string) []string {
		return append([]string{"image", "builder", verb, "-g", "web", "-n", name}, more...)
	}
	s.expect(t, "Succeeded", "provisioningState", builder("create", "quick", "--image-template", s.plane.Write(t, "quick.json", fmt.Sprintf(imageTemplate, "echo hello > /etc/greeting", image)))...)
	s.az.Run(t, builder("wait", "quick", "--created")...)
	s.expect(t, "quick", "[].name", "image", "builder", "list", "-g", "web")
	s.az.Run(t, builder("run", "quick")...)
	s.expect(t, "Succeeded", "lastRunStatus.runState", builder("show", "quick")...)
	s.expect(t, image, "[?name=='out'].artifactId", builder("show-runs", "quick")...)
	s.expect(t, "Succeeded", "provisioningState", "image", "show", "-g", "web", "-n", "built")

	s.az.Run(t, builder("create", "slow", "--image-template", s.plane.Write(t, "slow.json", fmt.Sprintf(imageTemplate, "sleep 3600", image+"-never")))...)
	s.az.Run(t, builder("run", "slow", "--no-wait")...)
	s.wait(t, "Running", "lastRunStatus.runState", builder("show", "slow")...)
	s.az.Run(t, builder("cancel", "slow")...)
	s.wait(t, "Canceled", "lastRunStatus.runState", builder("show", "slow")...)
	for _, name := range []string{"quick", "slow"} {
		s.az.Run(t, builder("delete", name)...)
	}
	s.expect(t, "", "[].name", "image", "builder", "list", "-g", "web")
	s.az.Run(t, "image", "delete", "-g", "web", "-n", "built")
	s.refused(t, 3, []string{"ResourceNotFound"}, "image", "show", "-g", "web", "-n", "built")
}

// managementGroups puts the subscription under a group of its own and back.
func (s *suite) managementGroups(t *testing.T) {
	group := func(verb string, more ...string) []string {
		return append([]string{"account", "management-group"}, append(strings.Fields(verb), append([]string{"--name", "platform"}, more...)...)...)
	}
	s.expect(t, "Platform", "displayName", group("create", "--display-name", "Platform")...)
	s.expect(t, "platform", "[?name=='platform'].name", "account", "management-group", "list")
	s.az.Run(t, group("subscription add", "--subscription", s.endpoint.Subscription)...)
	s.expect(t, s.endpoint.Subscription, "children[].name", group("show", "--expand")...)
	s.az.Run(t, group("subscription remove", "--subscription", s.endpoint.Subscription)...)
	s.expect(t, "Our platform", "displayName", group("update", "--display-name", "Our platform")...)
	s.az.Run(t, group("delete")...)
	s.expect(t, "", "[?name=='platform'].name", "account", "management-group", "list")
}
