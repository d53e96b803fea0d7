package build

import (
	"strings"
	"testing"
	"time"
)

func collect(events *[]Event) func(Event) { return func(e Event) { *events = append(*events, e) } }

func TestBuildThenRebuildFromTheCache(t *testing.T) {
	base := debian(t)
	b := open(t)
	plan := Plan{ID: "thin", Base: base, EngineVersion: "test", Steps: []Step{
		{Name: "hello", Kind: Shell, Inline: []string{"echo hello > /etc/hello", "id -u", "echo out $((40+2))"}},
		{Name: "file", Kind: File, Content: []byte("placed"), Dest: "/opt/a/b", Mode: 0o640, Owner: "root:daemon"},
	}}
	var events []Event
	first, err := b.Build(t.Context(), "run-1", plan, collect(&events))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	if first.Cached {
		t.Error("a first build came from the cache")
	}
	if want := "sha256:" + strings.Fields(tool(t, "sha256sum", first.Path))[0]; first.Digest != want {
		t.Errorf("digest %s, sha256sum says %s", first.Digest, want)
	}
	tool(t, "qemu-img", "check", first.Path)
	if info := tool(t, "qemu-img", "info", first.Path); strings.Contains(info, "backing file") {
		t.Errorf("the image is not standalone:\n%s", info)
	}
	if got := readFrom(t, first.Path, "etc/hello"); got != "hello\n" {
		t.Errorf("/etc/hello holds %q", got)
	}
	if got := readFrom(t, first.Path, "opt/a/b"); got != "placed" {
		t.Errorf("/opt/a/b holds %q", got)
	}
	var said []string
	for _, e := range events {
		if e.Kind == Log {
			said = append(said, e.Message)
		}
	}
	if got := strings.Join(said, "|"); got != "0|out 42" {
		t.Errorf("the step's output is %q", got)
	}

	begin := time.Now()
	second, err := b.Build(t.Context(), "run-2", plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	t.Logf("unchanged rebuild: %v", time.Since(begin))
	if !second.Cached || second.Digest != first.Digest {
		t.Errorf("an unchanged rebuild ran something: %+v", second)
	}

	plan.Steps[1].Content = []byte("changed")
	third, err := b.Build(t.Context(), "run-3", plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Release()
	if !third.Layers[0].Cached || third.Layers[1].Cached {
		t.Errorf("only the last step changed, but %+v", third.Layers)
	}
}
