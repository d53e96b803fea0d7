package alias

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultTable(t *testing.T) {
	table := Default()
	if table.Len() < 79_000 {
		t.Fatalf("%d aliases", table.Len())
	}
	tests := []struct{ name, typ, path string }{
		{"Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType", "Microsoft.Compute/virtualMachines", "properties.storageProfile.osDisk.osType"},
		{"MICROSOFT.COMPUTE/virtualmachines/SKU.name", "Microsoft.Compute/virtualMachines", "properties.hardwareProfile.vmSize"},
		{"Microsoft.Network/networkSecurityGroups/securityRules[*].protocol", "Microsoft.Network/networkSecurityGroups", "properties.securityRules[*].properties.protocol"},
	}
	for _, tt := range tests {
		found := table.Lookup(tt.name)
		if len(found) != 1 || found[0].Type != tt.typ || found[0].Path != tt.path {
			t.Errorf("%s: %+v", tt.name, found)
		}
	}
	if found := table.Lookup("Microsoft.Compute/imageSku"); len(found) != 3 {
		t.Errorf("imageSku: %+v", found)
	}
	if found := table.Lookup("Microsoft.Compute/nothing"); found != nil {
		t.Errorf("found %+v", found)
	}
}

func TestNearest(t *testing.T) {
	got := Default().Nearest("Microsoft.Compute/virtualMachines/storageProfile.osDisk.osTyp")
	if got != "Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType" {
		t.Errorf("got %q", got)
	}
	if got := Default().Nearest("Contoso/things/x"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestPackRoundTrip(t *testing.T) {
	var aliases []Alias
	for i := range 40 {
		aliases = append(aliases, Alias{Name: "A.B/c/x" + strconv.Itoa(i), Type: "A.B/c", Path: "properties.x" + strconv.Itoa(i)},
			Alias{Name: "A.B/c/y" + strconv.Itoa(i), Type: "A.B/c", Path: "sku.name"})
	}
	b, err := Pack(aliases)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range aliases {
		if diff := cmp.Diff(a, findCase(table.Lookup(a.Name), a.Name)); diff != "" {
			t.Error(diff)
		}
	}
}

func findCase(list []Alias, name string) Alias {
	for _, a := range list {
		if a.Name == name {
			return a
		}
	}
	return Alias{}
}

func TestImport(t *testing.T) {
	aliases, err := Import(`{"value":[{"namespace":"Contoso.Test","resourceTypes":[{"resourceType":"things","aliases":[
		{"name":"Contoso.Test/things/size","defaultPath":"properties.size","defaultMetadata":{"type":"String","attributes":"Modifiable"},
		 "paths":[{"path":"properties.oldSize","apiVersions":["2019-01-01"]}]},
		{"name":"Contoso.Test/things/list[*]","defaultPath":{"path":"properties.list[*]"},"paths":null},
		{"name":"Contoso.Test/things/ignored"}]}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	table := New(aliases...)
	size := table.Lookup("contoso.test/THINGS/size")
	if len(size) != 1 || size[0].Modifiable != Allowed || size[0].PathFor("2019-01-01") != "properties.oldSize" || size[0].PathFor("2024-01-01") != "properties.size" {
		t.Errorf("size: %+v", size)
	}
	list := table.Lookup("Contoso.Test/things/list")
	if len(list) != 1 || list[0].Path != "properties.list" || list[0].Modifiable != Forbidden {
		t.Errorf("list: %+v", list)
	}
	if table.Len() != 2 {
		t.Errorf("%d aliases", table.Len())
	}
	if _, err := Import(`"x"`); err == nil {
		t.Error("no error for text")
	}
}

func FuzzUnpack(f *testing.F) {
	b, _ := Pack([]Alias{{Name: "A/b/c", Type: "A/b", Path: "properties.c"}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if table, err := Unpack(b); err == nil {
			table.Lookup("a/b/c")
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	for b.Loop() {
		if _, err := Unpack(packedDefault); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table := Default()
	for b.Loop() {
		table.Lookup("Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType")
	}
}
