package image

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func someFacts() Facts {
	return Facts{
		SourcePublisher: "Debian", SourceOffer: "debian-12", SourceSKU: "12-gen2", SourceVersion: "12.20261120.1",
		SourceDigest: "sha256:aa", OSID: "debian", OSVersion: "12 (bookworm)", ImageGalleryID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/x",
		ImageDefinition: "web-base", ImageVersion: "1.0.3", RecipeDigest: "sha256:bb", RunID: "01J", BuildDate: "2026-11-22T05:00:00Z", PublishDate: "2026-11-22T05:10:00Z",
		Custom: map[string]string{"OWNER": "platform", "MOTTO": `it's $(rm -rf /) "quoted" \ and * done; Grüße`},
	}
}

func TestTattooRoundTrip(t *testing.T) {
	data, err := Tattoo(someFacts())
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseTattoo(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(someFacts(), back); diff != "" {
		t.Error(diff)
	}
}

// TestTattooIsSafeToSource lets a real shell read it.
func TestTattooIsSafeToSource(t *testing.T) {
	data, err := Tattoo(someFacts())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tattoo")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `. "$1" && printf '%s\n%s\n%s' "$MOTTO" "$OS_VERSION" "$GIT_COMMIT"`, "sh", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := someFacts().Custom["MOTTO"] + "\n12 (bookworm)\n"
	if string(out) != want {
		t.Errorf("a shell reads %q, want %q", out, want)
	}
}

func TestTattooRefuses(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"a line break":    func(f *Facts) { f.GitCommit = "a\nIMAGE_VERSION=9" },
		"a control":       func(f *Facts) { f.Custom["OWNER"] = "\x1b[2J" },
		"our own key":     func(f *Facts) { f.Custom["IMAGE_VERSION"] = "9.9.9" },
		"a hostile key":   func(f *Facts) { f.Custom["A;rm"] = "x" },
		"not UTF-8":       func(f *Facts) { f.RunID = "\xff" },
		"a very long one": func(f *Facts) { f.RunID = strings.Repeat("x", 5000) },
	} {
		f := someFacts()
		change(&f)
		if _, err := Tattoo(f); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	good, _ := Tattoo(someFacts())
	for name, text := range map[string]string{
		"cut off":      string(good[:len(good)-1]),
		"a repetition": string(good) + "OWNER=me\n",
		"expansion":    string(good) + "X=$(id)\n",
		"a comment":    "# hello\n" + string(good),
		"missing":      strings.Replace(string(good), "RUN_ID=01J\n", "", 1),
		"export":       strings.Replace(string(good), "RUN_ID", "export RUN_ID", 1),
	} {
		if _, err := ParseTattoo([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestTattooForWindows(t *testing.T) {
	f := someFacts()
	reg, err := TattooRegistry(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Windows Registry Editor Version 5.00\r\n", "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Hallmark\\Image]\r\n", "\"IMAGE_VERSION\"=\"1.0.3\"\r\n", `\"quoted\" \\ and`} {
		if !strings.Contains(string(reg), want) {
			t.Errorf("%q is missing", want)
		}
	}
	data, err := TattooJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]string
	if err := json.Unmarshal(data, &values); err != nil || values["OWNER"] != "platform" {
		t.Errorf("got %v, %v", values, err)
	}
}

func FuzzParseTattoo(f *testing.F) {
	good, _ := Tattoo(someFacts())
	f.Add(good)
	f.Add([]byte("A='b'\\''c'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, err := ParseTattoo(data)
		if err != nil {
			return
		}
		again, err := Tattoo(facts)
		if err != nil {
			t.Fatalf("a tattoo that cannot be written again: %v", err)
		}
		if back, err := ParseTattoo(again); err != nil || !cmp.Equal(facts, back) {
			t.Errorf("%q changed to %q", data, again)
		}
	})
}
