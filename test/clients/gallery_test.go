package clients_test

import "testing"

// recipe is small: what takes long is to boot the machine that proves it.
const recipe = `name: small
gallery: golden
definition: {name: small, identifier: {publisher: contoso, offer: base, sku: debian-12}}
versioning: {scheme: Latest, major: 1}
source: {type: PlatformImage, publisher: Debian, offer: debian-12, sku: 12-gen2, version: latest}
regions: [eastus]
customize:
  - type: File
    name: motd
    content: made of gold
    destination: /etc/motd
# Fresh package lists take an emulated machine a minute.
standardTests: {skip: [no-pending-security-updates]}
`

// goldenImage publishes what the machines of other parts are made from.
func (s *suite) goldenImage(t *testing.T) {
	s.plane.Run(t, 0, "image", "build", s.plane.Write(t, "recipe.yaml", recipe))
	s.golden = s.az.Query(t, "id", "sig", "image-version", "show", "-g", "hallmark", "-r", "golden", "-i", "small", "-e", "1.0.0")
}

// gallery leads a gallery's life.
func (s *suite) gallery(t *testing.T) {
	s.expect(t, "golden", "[].name", "sig", "list")
	s.expect(t, "Succeeded", "provisioningState", "sig", "create", "-g", "web", "-r", "mine")
	s.expect(t, "mine", "[].name", "sig", "list", "-g", "web")
	s.expect(t, "for tests", "description", "sig", "update", "-g", "web", "-r", "mine", "--set", "description=for tests")
	s.expect(t, "for tests", "description", "sig", "show", "-g", "web", "-r", "mine")
	s.expect(t, "Linux", "osType", "sig", "image-definition", "create", "-g", "web", "-r", "mine", "-i", "copy", "-p", "contoso", "-f", "copy", "-s", "12", "--os-type", "Linux",
		"--hyper-v-generation", "V2", "--end-of-life-date", "2030-01-01T00:00:00Z")
	s.expect(t, "copy", "[].name", "sig", "image-definition", "list", "-g", "web", "-r", "mine")
	s.expect(t, "2030-01-01T00:00:00.000Z", "endOfLifeDate", "sig", "image-definition", "show", "-g", "web", "-r", "mine", "-i", "copy")
	s.expect(t, "a copy", "description", "sig", "image-definition", "update", "-g", "web", "-r", "mine", "-i", "copy", "--set", "description=a copy")
	version := []string{"-g", "web", "-r", "mine", "-i", "copy", "-e", "1.0.0"}
	with := func(verb string, more ...string) []string {
		return append(append([]string{"sig", "image-version", verb}, version...), more...)
	}
	s.expect(t, "Succeeded", "provisioningState", with("create", "--image-version", s.golden, "--target-regions", "eastus", "--replica-count", "2")...)
	s.expect(t, "1.0.0", "[].name", "sig", "image-version", "list", "-g", "web", "-r", "mine", "-i", "copy")
	s.expect(t, "eastus 2", "publishingProfile.targetRegions[].[name, regionalReplicaCount]", with("show")...)
	s.expect(t, "true", "publishingProfile.excludeFromLatest", with("update", "--set", "publishingProfile.excludeFromLatest=true")...)
	s.expect(t, "2 3", "sort(publishingProfile.targetRegions[].regionalReplicaCount)", with("update", "--add", "publishingProfile.targetRegions", "name=westeurope", "regionalReplicaCount=3")...)
	s.expect(t, "2027-01-01T00:00:00.000Z", "publishingProfile.endOfLifeDate", with("update", "--set", "publishingProfile.endOfLifeDate=2027-01-01T00:00:00Z")...)
	s.expect(t, "Completed Completed", "replicationStatus.summary[].state", with("show", "--expand", "ReplicationStatus")...)
	s.az.Run(t, with("delete")...)
	s.expect(t, "", "[].name", "sig", "image-version", "list", "-g", "web", "-r", "mine", "-i", "copy")
	s.az.Run(t, "sig", "image-definition", "delete", "-g", "web", "-r", "mine", "-i", "copy")
	s.az.Run(t, "sig", "delete", "-g", "web", "-r", "mine")
	s.refused(t, 3, []string{"ResourceNotFound"}, "sig", "show", "-g", "web", "-r", "mine")
}
