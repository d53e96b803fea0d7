package library

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"hallmark.dev/hallmark/internal/golden"
	"hallmark.dev/hallmark/internal/policy/alias"
)

const small = `{"name":"a","properties":{"policyRule":{"if":{"field":"type","equals":"A.B/c"},"then":{"effect":"audit"}}}}`

func archive(t testing.TB, files map[string]string, compress bool) []byte {
	t.Helper()
	var b bytes.Buffer
	write := func(w *tar.Writer) {
		for name, text := range files {
			if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !compress {
		write(tar.NewWriter(&b))
		return b.Bytes()
	}
	z := gzip.NewWriter(&b)
	write(tar.NewWriter(z))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchive(t *testing.T) {
	for _, compress := range []bool{true, false} {
		files, err := Archive(bytes.NewReader(archive(t, map[string]string{"./x/a.json": small, "x/readme.md": "#"}, compress)))
		if err != nil || len(files) != 1 || files[0].Path != "x/a.json" {
			t.Errorf("%v %v", files, err)
		}
	}
	bad := map[string]map[string]string{
		"leads out of it":  {"../a.json": small},
		"leads out":        {"/etc/a.json": small},
		"larger than 4 Mi": {"a.json": strings.Repeat(" ", maxFile+1)},
	}
	for want, files := range bad {
		if got, err := Archive(bytes.NewReader(archive(t, files, true))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d files, %v", want, len(got), err)
		}
	}
	if _, err := Archive(strings.NewReader("\x1f\x8bno")); err == nil {
		t.Error("a broken archive was read")
	}
}

func TestFolder(t *testing.T) {
	files, err := Folder(fstest.MapFS{"a/b.json": {Data: []byte(small)}, "a/b.txt": {}, ".git/c.json": {Data: []byte(small)}})
	if err != nil || len(files) != 1 || files[0].Path != "a/b.json" {
		t.Errorf("%v %v", files, err)
	}
}

func TestReadTellsEverythingThatIsWrong(t *testing.T) {
	items, problems := Read([]File{
		{"good.json", small},
		{"again.json", small},
		{"other.json", `{"name":"A","properties":{"policyRule":{"if":{"field":"type","equals":"X"},"then":{"effect":"audit"}}}}`},
		{"two.json", "{\"properties\":{\"policyRule\":{\"if\":{\"field\":\"a\"},\n\"then\":{\"effect\":3}}}}"},
		{"broken.json", `{"properties":{"policyRule":`},
		{"set.json", `{"properties":{"policyDefinitions":[{"policyDefinitionReferenceId":"r"}]}}`},
		{"note.json", `{"nothing":"of ours"}`},
		{"broken-note.json", `{`},
	}, alias.Default(), false)
	if len(items) != 1 || items[0].Name != "a" || items[0].Kind != Definition || items[0].BuiltIn {
		t.Errorf("%+v", items)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.File)
	}
	if want := "other.json two.json two.json broken.json set.json"; strings.Join(got, " ") != want {
		t.Errorf("problems in %v, want %s\n%v", got, want, problems)
	}
}

func TestGoldenImagesAreALibrary(t *testing.T) {
	files, err := Folder(golden.Files())
	if err != nil {
		t.Fatal(err)
	}
	items, problems := Read(files, alias.Default(), false)
	if len(items) != 10 || len(problems) > 0 {
		t.Errorf("%d items, %v", len(items), problems)
	}
}

// The public built-ins are no part of the project: HALLMARK_SHARED or a folder shared
// beside the project's holds them.
func TestEveryPublicBuiltInIsRead(t *testing.T) {
	shared := os.Getenv("HALLMARK_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(shared, "data", "azure-policy-builtins.tar.gz"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the public built-in definitions are not here; set HALLMARK_SHARED to the folder that has data/azure-policy-builtins.tar.gz")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, err := Archive(f)
	if err != nil {
		t.Fatal(err)
	}
	items, problems := Read(files, alias.Default(), false)
	for _, p := range problems {
		t.Error(p)
	}
	count := map[Kind]int{}
	for _, i := range items {
		count[i.Kind]++
		if !i.BuiltIn {
			t.Errorf("%s does not say that it is built in", i.File)
		}
	}
	if count[Definition] != 3594 || count[Initiative] != 181 {
		t.Errorf("%v", count)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(archive(f, map[string]string{"a.json": small}, true))
	f.Add(archive(f, map[string]string{"a/b.json": small}, false))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if files, err := Archive(bytes.NewReader(data)); err == nil {
			Read(files, alias.Default(), false)
		}
	})
}

func TestMembersByName(t *testing.T) {
	items, problems := Read([]File{{"s.json", `{"name":"s","properties":{"policyDefinitions":[{"policyDefinitionReferenceId":"r","policyDefinitionName":"a"}]}}`}}, alias.Default(), true)
	if len(problems) > 0 || items[0].Members[0] != "/providers/Microsoft.Authorization/policyDefinitions/a" {
		t.Errorf("%+v %v", items, problems)
	}
}
