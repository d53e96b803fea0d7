package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/pipeline"
)

const (
	rebuildGoal   = 0.15 // of the first build
	unchangedGoal = 2.0  // seconds
)

// packages are what the ten comparable steps install, one each: tools and
// servers of a similar size that many golden images hold.
var packages = []string{"nginx-light", "git", "python3-venv", "postgresql-client", "redis-server", "vim", "haproxy", "nmap", "php-cli", "squid"}

// changed is the package that the second version has besides.
const changed = "tree"

// recipe is a recipe of one Shell step for each line of commands.
func recipe(definition string, extra string, steps []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, `name: %[1]s
gallery: bench
definition:
  name: %[1]s
  identifier: {publisher: Bench, offer: %[1]s, sku: debian-12}
regions: [eastus, westeurope]
source: {type: PlatformImage, publisher: Debian, offer: debian-12, sku: 12-gen2}
standardTests: {skip: [no-pending-security-updates]}
%[2]s
customize:
`, definition, extra)
	for i, step := range steps {
		fmt.Fprintf(&text, "  - type: Shell\n    name: step %d\n    inline:\n      - %s\n", i+1, step)
	}
	return text.String()
}

func installs(names []string) []string {
	var steps []string
	for _, name := range names {
		steps = append(steps, "apt-get -qq update && apt-get -qq -y install --no-install-recommends "+name)
	}
	return steps
}

// built is what later parts look at.
type built struct {
	first, second *pipeline.Run
	// stored and moved are the bytes by which the two regions' stores grew for the
	// second version.
	stored, moved int64
}

// measureBuild builds ten steps, then again with only the last changed, then
// again with nothing changed.
func (b *bench) measureBuild(ctx context.Context) error {
	p, err := b.imagePlane(ctx)
	if err != nil {
		return err
	}
	ten := recipe("ten", "", installs(packages))
	// Only a version that has passed its tests makes a later build unnecessary.
	if b.built.first, err = b.build(ctx, p, "first build of ten steps", ten, ended); err != nil {
		return err
	}
	if err := b.unchanged(ctx, p, ten); err != nil {
		return err
	}
	last := append(packages[:len(packages)-1:len(packages)-1], packages[len(packages)-1]+" "+changed)
	before := p.stored("eastus")
	if b.built.second, err = b.build(ctx, p, "only the last step changed", recipe("ten", "", installs(last)), staged); err != nil {
		return err
	}
	b.built.stored = p.stored("eastus") - before
	first, second := making(b.built.first), making(b.built.second)
	b.table.note("customise + seal + stage, ten steps", first.Round(10*time.Millisecond).String())
	b.table.note("the same, only the last step changed", second.Round(10*time.Millisecond).String())
	b.table.atMost("rebuild with the last of ten steps changed, of the first build", second.Seconds()/first.Seconds(), rebuildGoal, "%.3f")
	if v := b.built.first.Stage(pipeline.StageValidate); !v.EndTime.IsZero() {
		b.table.note("validation on a booted machine, not counted above", v.EndTime.Sub(v.StartTime).Round(time.Second).String())
	}
	return nil
}

// imagePlane is the control plane that the parts with images share.
func (b *bench) imagePlane(ctx context.Context) (*plane, error) {
	if b.images != nil {
		return b.images, nil
	}
	p, err := b.newPlane("images")
	if err != nil {
		return nil, err
	}
	b.images = p
	return p, p.up(ctx)
}

// making is how long a run took to make and stage its image.
func making(run *pipeline.Run) time.Duration {
	return run.Stage(pipeline.StageStage).EndTime.Sub(run.Stage(pipeline.StageBuild).StartTime)
}

func ended(run *pipeline.Run) bool { return run.Status.Final() }

// staged says that an image is in the gallery, tests or not.
func staged(run *pipeline.Run) bool {
	return run.Status.Final() || run.Stage(pipeline.StageStage).Status == pipeline.Succeeded
}

// build starts a pipeline's run, waits until it has come far enough, and cancels
// what is left of it.
func (b *bench) build(ctx context.Context, p *plane, what, text string, enough func(*pipeline.Run) bool) (*pipeline.Run, error) {
	parsed, err := image.ParseRecipe([]byte(text), image.ParseOptions{})
	if err != nil {
		return nil, err
	}
	b.say("%s …", what)
	id := p.resource("Hallmark.Images/pipelines", parsed.Name)
	if err := p.Put(ctx, "/subscriptions/"+p.server.Subscription+"/resourceGroups/"+group, "2021-04-01", map[string]any{"location": "eastus"}, nil); err != nil {
		return nil, err
	}
	if err := p.Put(ctx, id, apiHallmark, map[string]any{"location": "eastus", "properties": map[string]any{"recipe": parsed}}, nil); err != nil {
		return nil, err
	}
	var started struct{ ID string }
	if err := p.Do(ctx, azure.Request{Method: "POST", Path: id + "/run", APIVersion: apiHallmark, Body: map[string]any{}}, &started); err != nil {
		return nil, err
	}
	run, err := p.await(ctx, started.ID, enough)
	if err != nil {
		return nil, err
	}
	if !run.Stage(pipeline.StageStage).Status.Final() || run.Stage(pipeline.StageStage).Status != pipeline.Succeeded {
		return nil, fmt.Errorf("%s ended as %s: %v", what, run.Status, run.Error)
	}
	b.say("  made and staged in %s: %s", making(run).Round(10*time.Millisecond), b.phases(ctx, p, started.ID))
	if run.Status.Final() {
		return run, nil
	}
	_ = p.Do(ctx, azure.Request{Method: "POST", Path: started.ID + "/cancel", APIVersion: apiHallmark}, nil) // it may just have ended
	_, err = p.await(ctx, started.ID, ended)
	return run, err
}

func (p *plane) await(ctx context.Context, id string, enough func(*pipeline.Run) bool) (*pipeline.Run, error) {
	for {
		var document struct {
			Properties struct{ Run *pipeline.Run }
		}
		if err := p.Get(ctx, id, apiHallmark, &document); err != nil {
			return nil, err
		}
		if run := document.Properties.Run; run != nil && enough(run) {
			return run, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// phases says where a build's time went, from the events of its log.
func (b *bench) phases(ctx context.Context, p *plane, id string) string {
	var page struct{ Events []pipeline.Event }
	if err := p.Do(ctx, azure.Request{Method: "GET", Path: id + "/log", APIVersion: apiHallmark, Query: url.Values{"offset": {"0"}}}, &page); err != nil {
		return err.Error()
	}
	var begun, sealed time.Time
	var order []string
	took := map[string]time.Duration{}
	for _, e := range page.Events {
		switch {
		case e.Kind == "started":
			begun = e.Time
		case e.Kind == "finished" && e.Step != "":
			what, _, _ := strings.Cut(e.Step, " ")
			if took[what] == 0 {
				order = append(order, what)
			}
			took[what] += e.Time.Sub(begun)
			sealed = e.Time
		case e.Kind == "finished" && e.Stage == pipeline.StageStage:
			order = append(order, "stage")
			took["stage"] = e.Time.Sub(sealed)
		}
	}
	var parts []string
	for _, what := range order {
		parts = append(parts, fmt.Sprintf("%s %.1f s", what, took[what].Seconds()))
	}
	return strings.Join(parts, ", ")
}

// unchanged asks the command line for a build of what is there already.
func (b *bench) unchanged(ctx context.Context, p *plane, text string) error {
	if first := b.built.first; first.Status != pipeline.Succeeded {
		b.say("no unchanged rebuild: the first version ended as %s: %v", first.Status, first.Error)
		return nil
	}
	file := filepath.Join(b.work, "recipe.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	all, err := repeat(5, func() error {
		out, err := p.cli(ctx, "image", "build", file, "-o", "json")
		var run pipeline.Run
		if err == nil {
			err = json.Unmarshal([]byte(out), &run)
		}
		if err == nil && run.Status != pipeline.UpToDate {
			err = fmt.Errorf("an unchanged build ended as %s", run.Status)
		}
		return err
	})
	if err == nil {
		b.table.atMost("unchanged rebuild through the command line, median of 5, s", all.median().Seconds(), unchangedGoal, "%.2f")
	}
	return err
}

// stored is what a region's chunks take on disk.
func (p *plane) stored(region string) int64 {
	var sum int64
	_ = filepath.WalkDir(filepath.Join(p.dir.Regions(), region, "chunks"), func(_ string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}
