package gallery

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

func TestPublishIsReadyInAllRegionsBeforeItSucceeds(t *testing.T) {
	w := newWorld(t)
	id := versionID("1.0.0")
	created := w.must(t, "PUT", id, versionText(w.blob(t, "one"), "East US", "westeurope"), 201)
	if st := arm.GetString(created, "properties.provisioningState"); st != "Creating" {
		t.Errorf("state %q on create", st)
	}
	var during string
	w.engines.during = func(call string) {
		if call == "replicate to westeurope" {
			during = string(w.get(t, id, "$expand=ReplicationStatus"))
		}
	}
	w.settle(t, id)
	for _, want := range []string{`"provisioningState":"Creating"`, `"aggregatedState":"InProgress"`,
		`{"region":"East US","state":"Completed","details":"","progress":100}`, `{"region":"westeurope","state":"Replicating","details":"","progress":0}`} {
		if !strings.Contains(during, want) {
			t.Errorf("while it replicates, %s is not in %s", want, during)
		}
	}
	body := w.get(t, id, "$expand=ReplicationStatus")
	var got struct {
		Properties struct {
			ProvisioningState string
			Hallmark          Image
			PublishingProfile struct{ PublishedDate string }
			ReplicationStatus replicationStatus
		}
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	p := got.Properties
	want := replicationStatus{AggregatedState: "Completed", Summary: []regionalStatus{
		{Region: "East US", State: "Completed", Progress: 100}, {Region: "westeurope", State: "Completed", Progress: 100}}}
	if diff := cmp.Diff(want, p.ReplicationStatus); diff != "" {
		t.Error(diff)
	}
	if p.ProvisioningState != "Succeeded" || p.PublishingProfile.PublishedDate != "2026-11-22T12:00:00Z" || p.Hallmark.Digest != digestOf("one") {
		t.Errorf("%s", body)
	}
	if strings.Contains(string(w.get(t, id, "")), "replicationStatus") {
		t.Error("the replication status is shown without $expand")
	}
}

func TestUpdateWithEmptyStorageProfileKeepsTheSource(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus")
	before := w.get(t, id, "")
	published := arm.GetString(before, "properties.publishingProfile.publishedDate")
	w.now = w.now.AddDate(0, 0, 1)
	// What `az sig image-version update --set publishingProfile.excludeFromLatest=true` sends.
	body, _ := arm.Set(before, "properties.publishingProfile.excludeFromLatest", true)
	body, _ = arm.Set(body, "properties.storageProfile", struct{}{})
	w.must(t, "PUT", id, string(body), 200)
	w.settle(t, id)
	after := w.get(t, id, "")
	was, _ := arm.Get(before, "properties.storageProfile")
	is, _ := arm.Get(after, "properties.storageProfile")
	if diff := cmp.Diff(string(was), string(is)); diff != "" {
		t.Error(diff)
	}
	if v, _ := arm.Get(after, "properties.publishingProfile.excludeFromLatest"); string(v) != "true" {
		t.Errorf("excludeFromLatest is %s", v)
	}
	if got := arm.GetString(after, "properties.publishingProfile.publishedDate"); got != published {
		t.Errorf("publishedDate moved from %s to %s", published, got)
	}
}

func TestPutThatLeavesOutPublishingKeepsIt(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus", "westeurope")
	w.must(t, "PATCH", id, `{"properties":{"publishingProfile":{"excludeFromLatest":true}}}`, 200)
	w.settle(t, id)
	w.must(t, "PUT", id, `{"location":"eastus","tags":{"a":"b"},"properties":{}}`, 200)
	w.settle(t, id)
	b, err := readVersion(w.document(t, id))
	if err != nil || len(b.targets()) != 2 || !b.Properties.PublishingProfile.ExcludeFromLatest || len(w.replicas("westeurope")) != 1 {
		t.Errorf("%+v %v", b, err)
	}
}

func TestQuota(t *testing.T) {
	w := newWorld(t)
	for i := 1; i < maxGalleries; i++ { // one is there
		w.must(t, "PUT", group.Resource(TypeGallery, fmt.Sprintf("g%d", i)), `{"location":"eastus"}`, 201)
	}
	if body := w.must(t, "PUT", group.Resource(TypeGallery, "more"), `{"location":"eastus"}`, 409); !strings.Contains(string(body), "100 galleries") {
		t.Errorf("%s", body)
	}
	w.must(t, "PUT", group.Resource(TypeGallery, "elsewhere"), `{"location":"westeurope"}`, 201)
}

func TestLatest(t *testing.T) {
	w := newWorld(t)
	for v, regions := range map[string]string{
		"1.0.0":  `{"name":"eastus"},{"name":"westeurope"}`,
		"1.9.0":  `{"name":"eastus","excludeFromLatest":true},{"name":"westeurope"}`,
		"1.10.0": `{"name":"eastus"}`,
	} {
		id := versionID(v)
		w.must(t, "PUT", id, `{"location":"eastus","properties":{"storageProfile":{"osDiskImage":{"source":{"uri":"`+w.blob(t, v)+`"}}},"publishingProfile":{"targetRegions":[`+regions+`]}}}`, 201)
		w.settle(t, id)
	}
	// Excluded everywhere, and let in in one region: the region goes first.
	staged := versionID("2.0.0")
	w.must(t, "PUT", staged, `{"location":"eastus","properties":{"storageProfile":{"osDiskImage":{"source":{"uri":"`+w.blob(t, "2")+`"}}},"publishingProfile":{"excludeFromLatest":true,"targetRegions":[{"name":"eastus"},{"name":"westeurope","excludeFromLatest":false}]}}}`, 201)
	w.settle(t, staged)
	docs, err := store.List(t.Context(), w.store, store.Query{Type: TypeVersion})
	if err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{"eastus": "1.10.0", "westeurope": "2.0.0", "mars": ""} {
		if got := latest(docs, location); got != want {
			t.Errorf("latest in %s is %q, want %q", location, got, want)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, seed := range []string{"2027-01-31", "2027-01-31T00:00:00Z", "2027-01-31T00:00:00.0000001+02:00", "soon"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseDate(text); err == nil && d.Year() > 9999 {
			t.Errorf("%q is %v", text, d)
		}
	})
}

func TestRegionsAreAddedAndRemoved(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus")
	w.must(t, "PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"},{"name":"West Europe","regionalReplicaCount":3}]}}}`, 200)
	w.settle(t, id)
	if got := w.replicas("westeurope"); len(got) != 1 {
		t.Fatalf("replicas %v", got)
	}
	vm := group.Resource(typeVM, "web-1")
	w.must(t, "PUT", vm, `{"location":"westeurope","properties":{"storageProfile":{"imageReference":{"id":"`+strings.ToUpper(id.String())+`"}}}}`, 201)
	w.must(t, "PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"}]}}}`, 200)
	w.settle(t, id)
	if got := w.replicas("westeurope"); len(got) != 1 {
		t.Error("the replica was taken from under a machine")
	}
	w.must(t, "DELETE", vm, "", 200)
	w.settle(t, id)
	if got := w.replicas("westeurope"); len(got) != 0 {
		t.Errorf("nobody uses them and they are still there: %v", got)
	}
}

func TestProtectedRegionsStay(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus", "westeurope")
	w.must(t, "PATCH", id, `{"properties":{"safetyProfile":{"allowDeletionOfReplicatedLocations":false}}}`, 200)
	w.settle(t, id)
	body := w.must(t, "PATCH", id, `{"properties":{"publishingProfile":{"targetRegions":[{"name":"eastus"}]}}}`, 409)
	if !strings.Contains(string(body), "westeurope") {
		t.Errorf("%s", body)
	}
}

func TestDeleteNamesTheUsers(t *testing.T) {
	for name, vm := range map[string]string{
		"by its id":                    `{"imageReference":{"id":"VERSION"}}`,
		"by the definition, recorded":  `{"imageReference":{"id":"DEFINITION","exactVersion":"1.0.0"}}`,
		"by the definition, as latest": `{"imageReference":{"id":"DEFINITION"}}`,
	} {
		for typ, wrap := range map[arm.Type]string{
			typeVM:       `{"storageProfile":%s}`,
			typeScaleSet: `{"virtualMachineProfile":{"storageProfile":%s}}`,
			typeDisk:     `{"creationData":%s}`,
		} {
			t.Run(typ.Name()+" "+name, func(t *testing.T) {
				w := newWorld(t)
				id := w.publish(t, "1.0.0", "eastus")
				user := group.Resource(typ, "web-1")
				text := strings.NewReplacer("VERSION", id.String(), "DEFINITION", definition.String()).Replace(fmt.Sprintf(wrap, vm))
				w.must(t, "PUT", user, `{"location":"eastus","properties":`+text+`}`, 201)
				body := w.must(t, "DELETE", id, "", 409)
				if !strings.Contains(string(body), user.String()) {
					t.Errorf("the answer does not name %s: %s", user, body)
				}
				w.must(t, "DELETE", user, "", 200)
				w.must(t, "DELETE", id, "", 202)
				w.settle(t, id)
				w.must(t, "GET", id, "", 404)
				if got := w.replicas("eastus"); len(got) != 0 {
					t.Errorf("replicas left: %v", got)
				}
			})
		}
	}
}

func TestOlderVersionIsNotInUseWhenLatestMeansAnother(t *testing.T) {
	w := newWorld(t)
	old := w.publish(t, "1.0.0", "eastus")
	w.publish(t, "1.1.0", "eastus")
	w.must(t, "PUT", group.Resource(typeScaleSet, "web"), `{"location":"eastus","properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"`+definition.String()+`"}}}}}`, 201)
	w.must(t, "DELETE", old, "", 202)
}

func TestReplicaStaysWhileAnotherVersionHasTheSameBytes(t *testing.T) {
	w := newWorld(t)
	first := w.publish(t, "1.0.0", "eastus")
	second := versionID("2.0.0")
	w.must(t, "PUT", second, `{"location":"eastus","properties":{"storageProfile":{"source":{"id":"`+first.String()+`"}}}}`, 201)
	w.settle(t, second)
	w.must(t, "DELETE", first, "", 202)
	w.settle(t, first)
	w.must(t, "GET", first, "", 404)
	if got := w.replicas("eastus"); len(got) != 1 {
		t.Errorf("replicas %v", got)
	}
	w.must(t, "DELETE", second, "", 202)
	w.settle(t, second)
	if got := w.replicas("eastus"); len(got) != 0 {
		t.Errorf("replicas %v", got)
	}
}

func TestBlockDeletionBeforeEndOfLife(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus")
	w.must(t, "PATCH", id, `{"properties":{"safetyProfile":{"blockDeletionBeforeEndOfLife":true},"publishingProfile":{"endOfLifeDate":"2027-01-01T00:00:00Z"}}}`, 200)
	w.settle(t, id)
	w.must(t, "DELETE", id, "", 409)
	w.now = w.now.AddDate(0, 2, 0)
	w.must(t, "PATCH", id, `{"tags":{"a":"b"}}`, 200) // a date that has passed hinders no other change
	w.settle(t, id)
	w.must(t, "DELETE", id, "", 202)
}

func TestValidation(t *testing.T) {
	w := newWorld(t)
	published := w.publish(t, "1.0.0", "eastus")
	uri := w.blob(t, "bytes")
	source := `"storageProfile":{"osDiskImage":{"source":{"uri":"` + uri + `"}}}`
	w.must(t, "PUT", group.Resource(typeImage, "windows"), `{"location":"eastus","properties":{"hyperVGeneration":"V1","storageProfile":{"osDisk":{"osType":"Windows","osState":"Specialized","blobUri":"`+uri+`"}}}}`, 201)
	w.must(t, "PUT", group.Resource(typeImage, "far"), `{"location":"westeurope","properties":{"storageProfile":{"osDisk":{"osType":"Linux","blobUri":"`+uri+`"}}}}`, 201)
	image := func(name string) string {
		return `"storageProfile":{"source":{"id":"` + group.Resource(typeImage, name).String() + `"}}`
	}
	for _, c := range []struct {
		name, version, properties string
		wants                     []string // all in one answer
	}{
		{"name", "1.0", source, []string{"Major(int).Minor(int).Patch(int)"}},
		{"number too large", "1.0.2147483648", source, []string{"Major(int).Minor(int).Patch(int)"}},
		{"no source", "1.0.1", `"storageProfile":{}`, []string{"One and only one source type"}},
		{"two sources", "1.0.1", `"storageProfile":{"source":{"id":"` + published.String() + `"},"osDiskImage":{"source":{"uri":"` + uri + `"}}}`, []string{"One and only one source type"}},
		{"foreign blob", "1.0.1", `"storageProfile":{"osDiskImage":{"source":{"uri":"https://account.blob.core.windows.net/v/x.vhd"}}}`, []string{"osDiskImage.source.uri"}},
		{"missing blob", "1.0.1", `"storageProfile":{"osDiskImage":{"source":{"uri":"https://h/hallmark-blobs/sha256/` + strings.Repeat("0", 64) + `"}}}`, []string{"There is no blob"}},
		{"missing source", "1.0.1", image("nothing"), []string{"is not found. Please check source exists"}},
		{"source elsewhere", "1.0.1", image("far"), []string{"in the same region as gallery image version"}},
		{"source is no image", "1.0.1", `"storageProfile":{"source":{"id":"` + galleryID.String() + `"}}`, []string{"must either be a managed image"}},
		{"source does not fit", "1.0.1", image("windows"), []string{"different OS type ['Windows']", "different Hypervisor generation ['V1']", "since the OS State in the parent gallery image ('Generalized') is not 'Specialized'"}},
		{"own region missing, unknown region, twice, counts", "1.0.1",
			source + `,"publishingProfile":{"targetRegions":[{"name":"westeurope","regionalReplicaCount":51},{"name":"West Europe"},{"name":"mars"}]}`,
			[]string{"must contain the location of image version 'eastus'", "Duplicate regions are not allowed", "'mars' is not available", "must be between '1' and '50'"}},
		{"shallow", "1.0.1", source + `,"publishingProfile":{"replicationMode":"Shallow","replicaCount":2}`, []string{"must be between '1' and '1'"}},
		{"past end of life", "1.0.1", source + `,"publishingProfile":{"endOfLifeDate":"2020-01-01"}`, []string{"EndOfLifeDate must be set to a future date"}},
		{"no date", "1.0.1", source + `,"publishingProfile":{"endOfLifeDate":"soon"}`, []string{"Could not convert string to DateTimeOffset"}},
		{"wrong type", "1.0.1", source + `,"publishingProfile":{"excludeFromLatest":"yes"}`, []string{"properties.publishingProfile.excludeFromLatest"}},
		{"data disks", "1.0.1", `"storageProfile":{"source":{"id":"` + published.String() + `"},"dataDiskImages":[{"lun":1}]}`, []string{"one OS disk"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := w.must(t, "PUT", versionID(c.version), `{"location":"eastus","properties":{`+c.properties+`}}`, 400)
			for _, want := range c.wants {
				if !strings.Contains(string(body), want) {
					t.Errorf("%q is not in %s", want, body)
				}
			}
		})
	}
}

func TestWhatIsForLifeCannotBeChanged(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus")
	for _, change := range []string{
		`{"storageProfile":{"osDiskImage":{"source":{"uri":"` + w.blob(t, "other") + `"}}}}`,
		`{"publishingProfile":{"replicationMode":"Shallow"}}`,
		`{"publishingProfile":{"targetRegions":[{"name":"eastus","storageAccountType":"Premium_LRS"}]}}`,
	} {
		if body := w.must(t, "PATCH", id, `{"properties":`+change+`}`, 409); !strings.Contains(string(body), arm.CodePropertyChangeNotAllowed) {
			t.Errorf("%s: %s", change, body)
		}
	}
}

func TestDefinitionRules(t *testing.T) {
	w := newWorld(t)
	other := galleryID.Child("images", "other")
	if body := w.must(t, "PUT", other, definitionText, 409); !strings.Contains(string(body), "Choose a different publisher, offer, sku combination") {
		t.Errorf("%s", body)
	}
	bad := w.must(t, "PUT", other, `{"location":"eastus","properties":{"osType":"Plan9","identifier":{"publisher":"p.","offer":"o o"},"recommended":{"memory":{"min":8,"max":4}},"endOfLifeDate":"2020-01-01"}}`, 400)
	for _, want := range []string{"properties.osType", "properties.osState", "identifier.publisher", "identifier.offer", "identifier.sku", "minimum value", "future date"} {
		if !strings.Contains(string(bad), want) {
			t.Errorf("%q is not in %s", want, bad)
		}
	}
	for _, change := range []string{`{"osType":"Windows"}`, `{"osState":"Specialized"}`, `{"hyperVGeneration":"V1"}`, `{"identifier":{"sku":"t"}}`, `{"features":[{"name":"a","value":"b"}]}`} {
		w.must(t, "PATCH", definition, `{"properties":`+change+`}`, 409)
	}
	w.must(t, "PATCH", definition, `{"properties":{"description":"d","endOfLifeDate":"2030-01-01","recommended":{"vCPUs":{"min":1,"max":8}}},"tags":{"a":"b"}}`, 200)
	w.must(t, "PATCH", definition, `{"properties":{"allowUpdateImage":true,"features":[{"name":"a","value":"b"}]}}`, 200)
	w.must(t, "DELETE", galleryID, "", 409)
}

func TestGalleryNamesAreUniqueInASubscription(t *testing.T) {
	w := newWorld(t)
	elsewhere := arm.ResourceGroupID(subscription, "other").Resource(TypeGallery, "GOLDEN")
	if body := w.must(t, "PUT", elsewhere, `{"location":"eastus"}`, 409); !strings.Contains(string(body), "not unique within the subscription") {
		t.Errorf("%s", body)
	}
	w.must(t, "PUT", group.Resource(TypeGallery, "with-dash"), `{"location":"eastus"}`, 400)
	if got := arm.GetString(w.get(t, galleryID, ""), "properties.identifier.uniqueName"); got != subscription+"-GOLDEN" {
		t.Errorf("uniqueName %q", got)
	}
}

func TestSourceIsASnapshotOrAnImageOfIt(t *testing.T) {
	w := newWorld(t)
	snapshot, image := group.Resource(typeSnapshot, "snap"), group.Resource(typeImage, "captured")
	w.engines.stored[digestOf("captured")] = true
	w.must(t, "PUT", snapshot, `{"location":"eastus","properties":{"osType":"Linux","hallmark":{"imageDigest":"`+digestOf("captured")+`"}}}`, 201)
	w.must(t, "PUT", image, `{"location":"eastus","properties":{"storageProfile":{"osDisk":{"snapshot":{"id":"`+snapshot.String()+`"}}}}}`, 201)
	id := versionID("1.0.0")
	w.must(t, "PUT", id, `{"location":"eastus","properties":{"storageProfile":{"source":{"id":"`+image.String()+`"}}}}`, 201)
	w.settle(t, id)
	body := w.get(t, id, "")
	if got := arm.GetString(body, "properties.hallmark.imageDigest"); got != digestOf("captured") {
		t.Errorf("digest %q of %s", got, body)
	}
	if got, _ := arm.Get(body, "properties.storageProfile.osDiskImage.sizeInGB"); string(got) != "1" {
		t.Errorf("sizeInGB %s", got)
	}
}

// A disk says which image it was made from, not what is on it now.
func TestMachineAsSourceIsNotTakenForItsImage(t *testing.T) {
	w := newWorld(t)
	disk, vm := group.Resource(typeDisk, "osdisk"), group.Resource(typeVM, "web-1")
	w.must(t, "PUT", disk, `{"location":"eastus","properties":{"osType":"Linux","hallmark":{"imageDigest":"`+digestOf("its base")+`"}}}`, 201)
	w.must(t, "PUT", vm, `{"location":"eastus","properties":{"hallmark":{"imageDigest":"`+digestOf("its base")+`"},"storageProfile":{"osDisk":{"managedDisk":{"id":"`+disk.String()+`"}}}}}`, 201)
	body := w.must(t, "PUT", versionID("1.0.0"), `{"location":"eastus","properties":{"storageProfile":{"source":{"virtualMachineId":"`+vm.String()+`"}}}}`, 400)
	if !strings.Contains(string(body), "make a snapshot or a managed image") {
		t.Errorf("%s", body)
	}
}

func TestReplicationFailureNamesTheRegionAndIsMendedByAnotherPut(t *testing.T) {
	w := newWorld(t)
	id, text := versionID("1.0.0"), versionText(w.blob(t, "one"), "eastus", "westeurope")
	w.must(t, "PUT", id, text, 201)
	w.engines.fault = func(call string) mem.Fault {
		if call == "replicate to westeurope" {
			return mem.FailNotApplied
		}
		return mem.None
	}
	w.settle(t, id)
	body := string(w.get(t, id, "$expand=ReplicationStatus"))
	for _, want := range []string{`"provisioningState":"Failed"`, `"aggregatedState":"Failed"`, `{"region":"westeurope","state":"Failed","details":"no space left on device"`, `{"region":"eastus","state":"Completed"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	w.engines.fault = nil
	w.must(t, "PUT", id, text, 200)
	w.settle(t, id)
	if body := string(w.get(t, id, "$expand=ReplicationStatus")); !strings.Contains(body, `"provisioningState":"Succeeded"`) || !strings.Contains(body, `"aggregatedState":"Completed"`) {
		t.Error(body)
	}
}

func TestLostReplicaIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus", "westeurope")
	clear(w.engines.replicas["westeurope"])
	w.settle(t, id) // as at the next start
	if len(w.replicas("westeurope")) != 1 || arm.GetString(w.get(t, id, ""), "properties.provisioningState") != "Succeeded" {
		t.Error("the replica was not made again")
	}
}

func TestExport(t *testing.T) {
	w := newWorld(t)
	id := w.publish(t, "1.0.0", "eastus")
	post := func(body string) int { return w.doPath("POST", id.String()+"/export", "", body).Status }
	if got := post(`{"format":"iso"}`); got != 400 {
		t.Errorf("unknown format: %d", got)
	}
	if got := post(`{"format":"qcow2"}`); got != 202 {
		t.Fatalf("export: %d", got)
	}
	if got := post(`{"format":"raw"}`); got != 409 {
		t.Errorf("a second one at the same time: %d", got)
	}
	w.settle(t, id)
	var st state
	d := w.document(t, id)
	if err := json.Unmarshal(d.Private, &st); err != nil || st.Exported["qcow2"].URI == "" || len(d.Operations) != 0 {
		t.Fatalf("%s %v", d.Private, d.Operations)
	}
	if _, _, err := w.artifacts.Resolve(st.Exported["qcow2"].URI); err != nil {
		t.Error(err)
	}
	if got := arm.GetString(d.Body, "properties.provisioningState"); got != "Succeeded" {
		t.Errorf("state %s", got)
	}
}
