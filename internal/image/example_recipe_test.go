package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func exampleRecipe(t *testing.T) (*Recipe, map[string][]byte) {
	t.Helper()
	dir := filepath.Join("..", "..", "examples", "web-base")
	data, err := os.ReadFile(filepath.Join(dir, "recipe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecipe(data, ParseOptions{File: "recipe.yaml"})
	if err != nil {
		t.Fatalf("the example recipe has mistakes:\n%v", err)
	}
	files := map[string][]byte{}
	for _, in := range r.Inputs() {
		if !in.Local {
			t.Fatalf("the example needs the network: %s", in.URI)
		}
		if files[in.URI], err = os.ReadFile(filepath.Join(dir, in.URI)); err != nil {
			t.Fatal(err)
		}
	}
	return r, files
}

func TestExampleRecipePlans(t *testing.T) {
	r, files := exampleRecipe(t)
	embedded, err := r.Embed(files)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(embedded, ResolvedSource{Publisher: "Debian", Offer: "debian-12", SKU: "12-gen2", Version: "12.20261120.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := NewPlan(r, plan.Source, files)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Digest != direct.Digest {
		t.Errorf("embedding the files changed the plan: %s, %s", plan.Digest, direct.Digest)
	}
	var names []string
	for _, step := range plan.Steps {
		names = append(names, step.Name)
	}
	if got := strings.Join(names, "|"); !strings.HasPrefix(got, "install CA certificates|upgrade all packages|install nginx|start page|") {
		t.Errorf("steps are %s", got)
	}
	if page := string(plan.Steps[3].Content); !strings.Contains(page, "<h1>web-base</h1>") {
		t.Errorf("the variable was not replaced in %s", page)
	}
}

// TestTemplateRoundTrip: what the pipeline sends through ARM builds the same.
func TestTemplateRoundTrip(t *testing.T) {
	r, files := exampleRecipe(t)
	r, err := r.Embed(files)
	if err != nil {
		t.Fatal(err)
	}
	template, err := r.ToTemplate(TemplateInput{SubscriptionID: "s", ResourceGroup: "g", Version: "1.0.4", Staged: true, Regions: []string{"eastus"}})
	if err != nil {
		t.Fatal(err)
	}
	template.Properties[ExtensionsField] = template.Extensions
	back, err := FromTemplate(mustJSON(t, map[string]any{"type": TemplateType, "location": "eastus", "properties": template.Properties}), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	source := ResolvedSource{Version: "1"}
	want, err := NewPlan(r, source, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewPlan(back, source, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != want.Digest {
		t.Errorf("the plan changed on its way through a template")
	}
	d := back.Distribute[0]
	if d.GalleryImageID != "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/golden/images/web-base/versions/1.0.4" ||
		!d.ExcludeFromLatest || len(d.TargetRegions) != 1 || d.ArtifactTags["service-model"] != "cattle" {
		t.Errorf("distribute is %+v", d)
	}
}
