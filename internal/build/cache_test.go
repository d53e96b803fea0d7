package build

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func offline(lines string) Step {
	return Step{Name: lines, Kind: Shell, Inline: []string{lines}, Offline: true}
}

func TestWhatRunsAgain(t *testing.T) {
	one, two, three := shell("one", "one"), offline("two"), offline("three")
	for name, tc := range map[string]struct {
		change func(w *world, p *Plan)
		want   []string
	}{
		"nothing changed":             {func(*world, *Plan) {}, nil},
		"a step's name":               {func(_ *world, p *Plan) { p.Steps[0].Name = "renamed" }, nil},
		"the time limit":              {func(_ *world, p *Plan) { p.Steps[0].Timeout = time.Hour }, nil},
		"the proxy":                   {func(_ *world, p *Plan) { p.Proxy = "http://proxy:3128" }, nil},
		"the last step":               {func(_ *world, p *Plan) { p.Steps[2] = offline("other") }, []string{"other"}},
		"the middle step":             {func(_ *world, p *Plan) { p.Steps[1] = offline("other") }, []string{"other", "three"}},
		"a variable":                  {func(_ *world, p *Plan) { p.Variables = map[string]string{"A": "b"} }, []string{"one", "two", "three"}},
		"the engine":                  {func(_ *world, p *Plan) { p.EngineVersion = "2" }, []string{"one", "two", "three"}},
		"a secret":                    {func(_ *world, p *Plan) { p.Secrets = []Secret{{"s", []byte("v")}} }, []string{"one", "two", "three"}},
		"no cache":                    {func(_ *world, p *Plan) { p.NoCache = true }, []string{"one", "two", "three"}},
		"23 hours pass":               {func(w *world, _ *Plan) { w.now = w.now.Add(23 * time.Hour) }, nil},
		"25 hours pass":               {func(w *world, _ *Plan) { w.now = w.now.Add(25 * time.Hour) }, []string{"one", "two", "three"}},
		"25 hours pass, 30 allowed":   {func(w *world, p *Plan) { w.now = w.now.Add(25 * time.Hour); p.CacheMaxAge = 30 * time.Hour }, nil},
		"the clock goes back":         {func(w *world, _ *Plan) { w.now = w.now.Add(-time.Hour) }, []string{"one", "two", "three"}},
		"a year passes, offline only": {func(w *world, p *Plan) { w.now = w.now.Add(9000 * time.Hour); p.CacheMaxAge = 9001 * time.Hour }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.plan(one, two, three)
			if _, ran, err := w.build(p); err != nil || !slices.Equal(ran, []string{"one", "two", "three"}) {
				t.Fatalf("first build ran %q, %v", ran, err)
			}
			tc.change(w, &p)
			r, ran, err := w.build(p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, ran); diff != "" {
				t.Errorf("-want +ran:\n%s", diff)
			}
			if r.Cached != (len(tc.want) == 0) {
				t.Errorf("Cached is %v", r.Cached)
			}
			w.consistent()
		})
	}
}

func TestFailedStepKeepsTheLayersBeforeIt(t *testing.T) {
	w := newWorld(t)
	p := w.plan(offline("one"), offline("FAIL"))
	_, _, err := w.build(p)
	var failure *StepError
	if !errors.As(err, &failure) || failure.ExitCode != 1 || failure.Index != 1 || failure.Output != "no luck\n" {
		t.Fatalf("got %v", err)
	}
	p.Steps[1] = offline("two")
	if _, ran, err := w.build(p); err != nil || !slices.Equal(ran, []string{"two"}) {
		t.Errorf("the repaired build ran %q, %v", ran, err)
	}
	entries, _ := w.Cache(t.Context())
	if slices.ContainsFunc(entries, func(e CacheEntry) bool { return e.Kind == "failed" }) {
		t.Errorf("the failed state outlives the next build of its recipe:\n%s", mustJSON(entries))
	}
	w.consistent()
}

func TestValidExitCodes(t *testing.T) {
	w := newWorld(t)
	step := offline("FAIL with 1")
	step.ValidExitCodes = []int{0, 1}
	if _, _, err := w.build(w.plan(step)); err != nil {
		t.Error(err)
	}
}

func TestDamagedRecordsOnlyCostTime(t *testing.T) {
	w := newWorld(t)
	p := w.plan(offline("one"), offline("two"))
	if _, _, err := w.build(p); err != nil {
		t.Fatal(err)
	}
	records, _ := filepath.Glob(w.cache.path(actionsDir, "*.json"))
	for _, r := range records {
		if err := os.WriteFile(r, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, ran, err := w.build(p); err != nil || len(ran) != 2 {
		t.Errorf("ran %q, %v", ran, err)
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	w := newWorld(t)
	short, long := w.plan(offline("one")), w.plan(offline("one"), offline("two"))
	if _, _, err := w.build(long); err != nil {
		t.Fatal(err)
	}
	r, err := w.Build(t.Context(), "held", short, nil)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := w.Prune(t.Context(), PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.Path); err != nil {
		t.Errorf("an image in use was pruned: %v", err)
	}
	r.Release()
	for i, e := range removed {
		for _, later := range removed[i+1:] {
			if later.Parent == e.Digest && e.Digest != "" && e.Kind != "image" {
				t.Errorf("%s went before its child %s", e.Step, later.Step)
			}
		}
	}
	if _, err := w.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if entries, err := w.Cache(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("left: %s, %v", mustJSON(entries), err)
	}
	if actions, _ := filepath.Glob(w.cache.path(actionsDir, "*")); len(actions) != 0 {
		t.Errorf("actions without a result are left: %v", actions)
	}
	if _, ran, err := w.build(long); err != nil || len(ran) != 2 {
		t.Errorf("after pruning, a build ran %q, %v", ran, err)
	}
	w.consistent()
}

func TestPruneOrder(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	entries := []CacheEntry{
		{Kind: "base", Digest: "b", Size: 10, Used: at(1)},
		{Kind: "layer", Digest: "l1", Parent: "b", Size: 10, Used: at(2)},
		{Kind: "layer", Digest: "l2", Parent: "l1", Size: 10, Used: at(3)},
		{Kind: "layer", Digest: "busy", Parent: "b", Size: 10, Used: at(0), InUse: true},
		{Kind: "failed", Run: "f", Parent: "l1", Size: 10, Used: at(9)},
		{Kind: "image", Digest: "i", Size: 10, Used: at(4)},
	}
	next := func(entries []CacheEntry, o PruneOptions, total int64) string {
		i := nextToPrune(entries, o, total, at(10))
		if i < 0 {
			return ""
		}
		return entries[i].Kind + entries[i].Digest
	}
	for name, tc := range map[string]struct {
		entries []CacheEntry
		o       PruneOptions
		total   int64
		want    string
	}{
		"no limit":                   {entries, PruneOptions{}, 60, ""},
		"fits":                       {entries, PruneOptions{MaxBytes: 60}, 60, ""},
		"failed states first":        {entries, PruneOptions{MaxBytes: 50}, 60, "failed"},
		"then the oldest leaf":       {append(slices.Clone(entries[:4]), entries[5]), PruneOptions{MaxBytes: 1}, 50, "layerl2"},
		"an old one by age":          {entries[:3], PruneOptions{MaxAge: 6 * time.Hour}, 30, "layerl2"},
		"a parent of one in use":     {[]CacheEntry{entries[0], entries[3]}, PruneOptions{All: true}, 20, ""},
		"a young leaf shields it":    {entries[:3], PruneOptions{MaxAge: 7*time.Hour + time.Minute}, 30, ""},
		"everything, the leaf first": {entries[:2], PruneOptions{All: true}, 20, "layerl1"},
	} {
		if got := next(tc.entries, tc.o, tc.total); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestPlanValidationReportsEverything(t *testing.T) {
	err := Plan{
		Base:         Base{Digest: "md5:1", Format: "vmdk"},
		OSDiskSizeGB: -1,
		Variables:    map[string]string{"a-b": "x"},
		Secrets:      []Secret{{Name: "../x"}},
		Steps: []Step{{Kind: Shell}, {Kind: File, Dest: "../etc"}, {Kind: "Rain"}, {Kind: CACertificate, Certificates: []byte("x")},
			{Kind: Shell, Script: []byte("x"), SHA256: "00", Isolation: "moon"}, {Kind: File, Dest: "/a", Boot: true}},
	}.Validate()
	if err == nil {
		t.Fatal("a plan full of mistakes passes")
	}
	for _, want := range []string{"Base.Digest", "Base.Format", "OSDiskSizeGB", "Variables", "Secrets[0].Name", "Secrets[0].Value", "Steps[0].Script",
		"Steps[1].Dest", "Steps[2].Kind", "Steps[3].Certificates", "Steps[4].SHA256", "Steps[4].Isolation", "Steps[5].Boot"} {
		if !strings.Contains(err.Error(), "plan."+want+":") {
			t.Errorf("nothing is said about %s in:\n%v", want, err)
		}
	}
}
