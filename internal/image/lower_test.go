package image

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// portable renders a recipe for Azure and returns the steps' scripts.
func portable(t *testing.T, r *Recipe) []Customizer {
	t.Helper()
	template, err := r.ToTemplate(TemplateInput{SubscriptionID: "s", ResourceGroup: "g", Portable: true, Tattoo: []byte("A=b\n")})
	if err != nil {
		t.Fatal(err)
	}
	if template.Extensions != nil {
		t.Errorf("a portable template has extensions: %v", template.Extensions)
	}
	var steps []Customizer
	if err := json.Unmarshal(mustJSON(t, template.Properties["customize"]), &steps); err != nil {
		t.Fatal(err)
	}
	return steps
}

// TestPortableHoldsOnlyAzureFields: Azure refuses a template with a field that
// it does not know.
func TestPortableHoldsOnlyAzureFields(t *testing.T) {
	r, files := exampleRecipe(t)
	r, err := r.Embed(files)
	if err != nil {
		t.Fatal(err)
	}
	template, err := r.ToTemplate(TemplateInput{SubscriptionID: "s", ResourceGroup: "g", Portable: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range template.Properties["customize"].([]any) {
		fields := step.(map[string]any)
		for name := range fields {
			if !strings.Contains(" type name inline scriptUri sourceUri destination sha256Checksum ", " "+name+" ") {
				t.Errorf("step %v has the field %s", fields["name"], name)
			}
		}
		if fields["type"] != "Shell" {
			t.Errorf("step %v is a %v", fields["name"], fields["type"])
		}
	}
}

// TestPortableScriptsRun lets a real shell run what Azure would be sent, with
// a sudo that only runs its arguments.
func TestPortableScriptsRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecipe([]byte(minimal+`
proxy: {http: "http://proxy:3128"}
customize:
- type: Shell
  name: environment
  env: {WORD: "it's END_OF_STEP"}
  timeout: 60s
  inline:
    - printf '%s|%s' "$WORD" "$http_proxy" > DIR/out
    - "true # END_OF_STEP"
- {type: Shell, name: accepted, validExitCodes: [3], inline: [exit 3]}
- {type: Shell, name: stops, inline: ["false", "touch DIR/never"]}
`), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	steps := portable(t, r)
	for i, wantFailure := range []bool{false, false, true} {
		script := strings.ReplaceAll(strings.Join(steps[i].Inline, "\n"), "DIR", dir)
		command := exec.Command("sh", "-e", "-c", script)
		command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "TMPDIR="+dir)
		if out, err := command.CombinedOutput(); (err != nil) != wantFailure {
			t.Errorf("step %s: %v\n%s", steps[i].Name, err, out)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "out")); string(got) != "it's END_OF_STEP|http://proxy:3128" {
		t.Errorf("the step wrote %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "never")); err == nil {
		t.Error("a step went on after a failure")
	}
	if last := steps[len(steps)-1]; !strings.Contains(strings.Join(last.Inline, "\n"), "install -m 0644 -o root -g root") {
		t.Errorf("the tattoo is not written by %v", last)
	}
}

func TestPortableRefusesSecrets(t *testing.T) {
	r, err := ParseRecipe([]byte(minimal+"secrets: {token: {env: TOKEN}}\ncustomize: [{type: Shell, inline: [id], secrets: [token]}]\n"), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ToTemplate(TemplateInput{Portable: true}); err == nil || !strings.Contains(err.Error(), "key vault") {
		t.Errorf("got %v", err)
	}
	template, err := r.ToTemplate(TemplateInput{})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(mustJSON(t, template.Properties)); strings.Contains(text, "token") {
		t.Errorf("Azure's part names a secret: %s", text)
	}
}

// TestGeneratedScriptsAreValidShell checks the syntax of what we write.
func TestGeneratedScriptsAreValidShell(t *testing.T) {
	r, files := exampleRecipe(t)
	r.AptMirror = "http://mirror.example/debian"
	r, err := r.Embed(files)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(r, ResolvedSource{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	scripts := PlanTests(r, TestInput{Nonce: "n"}).Scripts(0)
	for _, test := range PlanTests(r, TestInput{}).tests {
		scripts = append(scripts, test.script)
	}
	for _, step := range plan.Steps {
		scripts = append(scripts, step.Script)
	}
	for _, script := range scripts {
		command := exec.Command("sh", "-n")
		command.Stdin = strings.NewReader(script)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, script)
		}
	}
}
