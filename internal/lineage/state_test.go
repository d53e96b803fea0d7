package lineage

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	groupID   = "/subscriptions/s1/resourceGroups/g/providers/Microsoft.Compute"
	galleryID = groupID + "/galleries/goldens"
	webID     = galleryID + "/images/web"
)

// tableRows are the data rows of the table below a header in docs/audit.md.
func tableRows(t *testing.T, header string) [][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(data), header+"\n")
	if !ok {
		t.Fatalf("docs/audit.md has no table %s", header)
	}
	var rows [][]string
	for _, line := range strings.Split(after, "\n")[1:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return rows
}

// choices are the values that a cell of the table stands for.
var choices = map[string]map[string][]string{
	"mark":     {"any": {"", MarkStaged, MarkPublished, MarkAged, MarkRevoked}, "none": {""}},
	"excluded": {"any": {"yes", "no"}},
	"ended":    {"any": {"passed", "no"}},
	"newer":    {"any": {"0", "1", "2", "5"}, "1 or more": {"1", "2", "5"}, "2 or more": {"2", "5"}},
}

func expand(column, cell string) []string {
	if values, ok := choices[column][cell]; ok {
		return values
	}
	return []string{cell}
}

func versionDocument(name, mark string, excluded, ended bool) string {
	end := "2030-01-01T00:00:00Z"
	if ended {
		end = "2026-11-22T12:00:00Z"
	}
	tags := "{}"
	if mark != "" {
		tags = fmt.Sprintf(`{"hallmark-state":%q}`, mark)
	}
	return fmt.Sprintf(`{"id":"%s/versions/%s","name":%q,"type":"Microsoft.Compute/galleries/images/versions","tags":%s,
"properties":{"provisioningState":"Succeeded","publishingProfile":{"excludeFromLatest":%v,"publishedDate":"2026-11-12T11:00:00Z","endOfLifeDate":%q}}}`,
		webID, name, name, tags, excluded, end)
}

func catalogOf(t *testing.T, documents ...string) *Catalog {
	t.Helper()
	c := NewCatalog()
	for _, text := range documents {
		d, err := Read([]byte(text))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		c.Add(d)
	}
	return c
}

func resolve(t *testing.T, c *Catalog, document string) Lineage {
	t.Helper()
	d, err := Read([]byte(document))
	if err != nil || d.Subject == nil {
		t.Fatalf("%v in %s", err, document)
	}
	l, ok := c.Resolve(*d.Subject, Options{Now: now})
	if !ok {
		t.Fatalf("no lineage for %s", document)
	}
	return l
}

func vmFrom(reference string) string {
	return fmt.Sprintf(`{"id":"%s/virtualMachines/vm","type":"Microsoft.Compute/virtualMachines","properties":{"storageProfile":{"imageReference":%s}}}`, groupID, reference)
}

// TestTableOfStates: docs/audit.md is the test. Each row covers every
// combination that "any" stands for, minus those of the rows above it.
func TestTableOfStates(t *testing.T) {
	seen := map[string]bool{}
	rows := tableRows(t, "| mark (`hallmark-state`) | excluded from latest | end of life | newer released versions | state |")
	if len(rows) < 11 {
		t.Fatalf("the table has only %d rows", len(rows))
	}
	for _, row := range rows {
		for _, mark := range expand("mark", row[0]) {
			for _, excluded := range expand("excluded", row[1]) {
				for _, ended := range expand("ended", row[2]) {
					for _, newer := range expand("newer", row[3]) {
						combination := strings.Join([]string{mark, excluded, ended, newer}, "/")
						if seen[combination] {
							continue
						}
						seen[combination] = true
						checkState(t, mark, excluded == "yes", ended == "passed", newer, State(row[4]))
					}
				}
			}
		}
	}
	if len(seen) != 5*2*2*4 {
		t.Errorf("the table answers %d of %d combinations", len(seen), 5*2*2*4)
	}
}

func checkState(t *testing.T, mark string, excluded, ended bool, newer string, want State) {
	t.Helper()
	documents := []string{versionDocument("1.0.0", mark, excluded, ended)}
	var n int
	fmt.Sscan(newer, &n)
	for i := range n {
		documents = append(documents, versionDocument(fmt.Sprintf("1.0.%d", i+1), mark2(mark), false, false))
	}
	// Newer, but nothing that a new machine could get.
	documents = append(documents, versionDocument("1.0.96", "", true, false), versionDocument("1.0.97", MarkStaged, false, false),
		versionDocument("1.0.98", MarkRevoked, false, false), versionDocument("1.0.99", MarkPublished, false, true))
	l := resolve(t, catalogOf(t, documents...), vmFrom(`{"id":"`+webID+`/versions/1.0.0"}`))
	if l.State != want || l.VersionsBehind != n || l.Why == "" {
		t.Errorf("mark %q, excluded %v, ended %v, %s newer: %s (%s), %d behind; want %s", mark, excluded, ended, newer, l.State, l.Why, l.VersionsBehind, want)
	}
}

// mark2 gives the newer versions the marks that an estate like that has.
func mark2(mark string) string {
	if mark == "" {
		return ""
	}
	return MarkPublished
}

// TestTableOfReferences: the second table of docs/audit.md is a test too.
func TestTableOfReferences(t *testing.T) {
	image := func(mark string) string {
		return fmt.Sprintf(`{"id":"%s/images/i","type":"Microsoft.Compute/images","tags":{"HALLMARK-state":%q}}`, groupID, mark)
	}
	known := versionDocument("1.0.0", "", false, false)
	fromImage := vmFrom(`{"id":"` + groupID + `/images/i"}`)
	attached := `{"id":"` + groupID + `/virtualMachines/vm","properties":{"storageProfile":{"osDisk":{"createOption":"Attach","managedDisk":{"id":"` + groupID + `/disks/d"}}}}}`
	cases := map[string]struct {
		documents []string
		subject   string
		options   Options
	}{
		"marketplace image":                             {nil, vmFrom(`{"publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest","exactVersion":"0.1.2"}`), Options{}},
		"managed image without a mark":                  {[]string{image("")}, fromImage, Options{}},
		"managed image marked published":                {[]string{image(MarkPublished)}, fromImage, Options{}},
		"managed image marked aged":                     {[]string{image(MarkAged)}, fromImage, Options{}},
		"managed image marked staged":                   {[]string{image(MarkStaged)}, fromImage, Options{}},
		"managed image marked revoked":                  {[]string{image(MarkRevoked)}, fromImage, Options{}},
		"community gallery that is not ours":            {nil, vmFrom(`{"communityGalleryImageId":"/CommunityGalleries/them-1234/Images/x/Versions/1.0.0"}`), Options{}},
		"uploaded or imported VHD":                      {[]string{`{"id":"` + groupID + `/disks/d","type":"Microsoft.Compute/disks","properties":{"creationData":{"createOption":"Import","sourceUri":"https://x/y.vhd"}}}`}, attached, Options{}},
		"gallery that is not approved":                  {[]string{known}, vmFrom(`{"id":"` + webID + `/versions/1.0.0"}`), Options{Galleries: []string{"/other"}}},
		"gallery that is not among the documents":       {nil, vmFrom(`{"id":"` + webID + `/versions/1.0.0"}`), Options{}},
		"version that is not among the documents":       {[]string{known}, vmFrom(`{"id":"` + webID + `/versions/9.0.0"}`), Options{}},
		"latest version, with nothing that says which":  {[]string{known}, vmFrom(`{"id":"` + webID + `"}`), Options{}},
		"attached disk that is not among the documents": {nil, attached, Options{}},
		"no image at all":                               {nil, `{"id":"` + groupID + `/virtualMachines/vm"}`, Options{}},
	}
	rows := tableRows(t, "| image reference | state |")
	if len(rows) != len(cases) {
		t.Errorf("the table has %d rows, the test %d", len(rows), len(cases))
	}
	for _, row := range rows {
		c, ok := cases[row[0]]
		if !ok {
			t.Errorf("row %q is not tested", row[0])
			continue
		}
		d, err := Read([]byte(c.subject))
		if err != nil {
			t.Fatal(err)
		}
		c.options.Now = now
		l, _ := catalogOf(t, c.documents...).Resolve(*d.Subject, c.options)
		if string(l.State) != row[1] || l.Why == "" {
			t.Errorf("%s: %s (%s), want %s", row[0], l.State, l.Why, row[1])
		}
	}
}

func TestForms(t *testing.T) {
	c := catalogOf(t, versionDocument("1.0.0", "", false, false), versionDocument("1.1.0", "", false, false),
		`{"id":"`+galleryID+`","type":"Microsoft.Compute/galleries","properties":{"identifier":{"uniqueName":"s1-GOLDENS"},"sharingProfile":{"communityGalleryInfo":{"publicNames":["Ours-abc"]}}}}`,
		`{"id":"`+groupID+`/disks/os","type":"Microsoft.Compute/disks","creationData":{"createOption":"FromImage","galleryImageReference":{"id":"`+webID+`/versions/1.1.0"}}}`,
		`{"id":"`+groupID+`/disks/copy","type":"Microsoft.Compute/disks","creationData":{"createOption":"Copy","sourceResourceId":"`+groupID+`/snapshots/snap"}}`,
		`{"id":"`+groupID+`/snapshots/snap","type":"Microsoft.Compute/snapshots","creationData":{"createOption":"Copy","sourceResourceId":"`+strings.ToUpper(groupID)+`/DISKS/OS"}}`,
		`{"id":"`+groupID+`/disks/a","type":"Microsoft.Compute/disks","creationData":{"createOption":"Copy","sourceResourceId":"`+groupID+`/disks/b"}}`,
		`{"id":"`+groupID+`/disks/b","type":"Microsoft.Compute/disks","creationData":{"createOption":"Copy","sourceResourceId":"`+groupID+`/disks/a"}}`,
		`{"id":"`+groupID+`/disks/market","type":"Microsoft.Compute/disks","creationData":{"createOption":"FromImage","imageReference":{"id":"/Subscriptions/s1/Providers/Microsoft.Compute/Locations/westus/Publishers/Canonical/ArtifactTypes/VMImage/Offers/UbuntuServer/Skus/18.04-LTS/Versions/18.04.1"}}}`,
	)
	vm := func(profile string) string {
		return `{"id":"` + groupID + `/virtualMachines/vm","storageProfile":` + profile + `}`
	}
	disk := func(name string) string {
		return `"osDisk":{"managedDisk":{"id":"` + groupID + `/disks/` + name + `"}}`
	}
	for name, x := range map[string]struct {
		document string
		state    State
		version  string
	}{
		"version":            {vmFrom(`{"id":"` + webID + `/versions/1.1.0"}`), ApprovedCurrent, "1.1.0"},
		"other case":         {vmFrom(`{"id":"` + strings.ToUpper(webID) + `/Versions/1.0.0"}`), ApprovedOutdated, "1.0.0"},
		"flattened":          {vm(`{"imageReference":{"id":"` + webID + `/versions/1.1.0"}}`), ApprovedCurrent, "1.1.0"},
		"exactVersion":       {vmFrom(`{"id":"` + webID + `","exactVersion":"1.0.0"}`), ApprovedOutdated, "1.0.0"},
		"latest by its disk": {vm(`{"imageReference":{"id":"` + webID + `"},` + disk("os") + `}`), ApprovedCurrent, "1.1.0"},
		"versions/latest":    {vm(`{"imageReference":{"id":"` + webID + `/versions/latest"},` + disk("os") + `}`), ApprovedCurrent, "1.1.0"},
		"swapped disk":       {vm(`{"imageReference":{"id":"` + webID + `/versions/1.1.0"},` + disk("market") + `}`), UnapprovedMarketplace, "18.04.1"},
		"attached copy":      {vm(`{` + disk("copy") + `}`), ApprovedCurrent, "1.1.0"},
		"circle":             {vm(`{` + disk("a") + `}`), Unknown, ""},
		"our community name": {vmFrom(`{"communityGalleryImageId":"/CommunityGalleries/OURS-abc/Images/web/Versions/1.0.0"}`), ApprovedOutdated, "1.0.0"},
		"our shared name":    {vmFrom(`{"sharedGalleryImageId":"/SharedGalleries/s1-goldens/Images/web/Versions/1.0.0"}`), ApprovedOutdated, "1.0.0"},
		"their shared name":  {vmFrom(`{"sharedGalleryImageId":"/SharedGalleries/x-y/Images/web/Versions/1.0.0"}`), Unknown, "1.0.0"},
		"unmanaged disk":     {vm(`{"osDisk":{"image":{"uri":"https://x/y.vhd"}}}`), UnapprovedCustom, ""},
		"scale set":          {`{"id":"` + groupID + `/virtualMachineScaleSets/v","virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"` + webID + `"}}}}`, ApprovedCurrent, "1.1.0"},
		"scale set instance": {`{"id":"` + groupID + `/virtualMachineScaleSets/v/virtualMachines/0","storageProfile":{"imageReference":{"id":"` + webID + `","exactVersion":"1.0.0"}}}`, ApprovedOutdated, "1.0.0"},
		"a disk itself":      {`{"id":"` + groupID + `/disks/z","creationData":{"createOption":"FromImage","galleryImageReference":{"id":"` + webID + `/versions/1.0.0"}}}`, ApprovedOutdated, "1.0.0"},
	} {
		l := resolve(t, c, x.document)
		if l.State != x.state || l.Reference.Version != x.version {
			t.Errorf("%s: %s, version %q (%s); want %s, %q", name, l.State, l.Reference.Version, l.Why, x.state, x.version)
		}
	}
	d, err := Read([]byte(`{"id":"` + groupID + `/disks/data","creationData":{"createOption":"Empty"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Resolve(*d.Subject, Options{Now: now}); ok {
		t.Error("an empty data disk has a lineage")
	}
}

func TestFacts(t *testing.T) {
	document := strings.Replace(versionDocument("1.0.0", MarkPublished, false, false), `{"hallmark-state":"published"}`,
		`{"hallmark-state":"published","hallmark-source":"Debian:debian-12:12-gen2:12.20261120","hallmark-run":"r1","hallmark-lifecycle-current":"1"}`, 1)
	c := catalogOf(t, document, versionDocument("1.0.10", MarkPublished, false, false), versionDocument("1.0.9", MarkPublished, false, false))
	l := resolve(t, c, vmFrom(`{"id":"`+webID+`/versions/1.0.0"}`))
	if l.State != Aged || l.LatestVersion != "1.0.10" || l.VersionsBehind != 2 || l.DaysSincePublished != 10 || l.Source != "Debian:debian-12:12-gen2:12.20261120" || l.Run != "r1" {
		t.Errorf("got %+v", l)
	}
	if l.EndOfLifeDate == nil || l.EndOfLifeDate.Year() != 2030 {
		t.Errorf("end of life is %v", l.EndOfLifeDate)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(versionDocument("1.0.0", "", false, false)))
	f.Add([]byte(vmFrom(`{"id":"/galleries//images/x/versions/"}`)))
	f.Add([]byte(`{"id":"/providers/","type":"Microsoft.Compute/disks","creationData":{"createOption":"copy","sourceResourceId":"/disks/x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Read(data)
		if err != nil {
			return
		}
		c := NewCatalog()
		c.Add(d)
		if d.Subject == nil {
			return
		}
		l, ok := c.Resolve(*d.Subject, Options{Now: now})
		if ok && l.State == "" {
			t.Error("a subject without a state")
		}
		if _, err := json.Marshal(l); err != nil {
			t.Error(err)
		}
	})
}
