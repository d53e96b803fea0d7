package image

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const minimal = `name: tiny
gallery: g
definition: {name: tiny, identifier: {publisher: p, offer: o, sku: s}}
regions: [local]
source: {type: PlatformImage, publisher: Debian, offer: debian-12, sku: 12-gen2}
`

func TestDefaults(t *testing.T) {
	r, err := ParseRecipe([]byte(minimal+"customize:\n- {type: Shell, inline: 'true'}\n- {type: File, content: x, destination: /etc/x}\n"), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.BuildTimeoutInMinutes != 240 || r.Lifecycle.Current != 2 || r.Cache.MaxAge.String() != "1d" || r.Source.Version != "latest" ||
		r.ErrorHandling.OnCustomizerError != "cleanup" || r.Definition.HyperVGeneration != "V2" {
		t.Errorf("defaults are %+v", r)
	}
	want := []Customizer{
		{Type: "Shell", Inline: Lines{"true"}, Network: "full", Isolation: "container", ValidExitCodes: []int{0}},
		{Type: "File", Content: new("x"), Destination: "/etc/x", Mode: "0644", Owner: "root:root"},
	}
	if diff := cmp.Diff(want, r.Customize); diff != "" {
		t.Error(diff)
	}
}

// TestEveryMistakeAtOnce: one recipe with one mistake of each sort; each is
// reported where it is, with the nearest valid word.
func TestEveryMistakeAtOnce(t *testing.T) {
	_, err := ParseRecipe([]byte(`name: ../evil
galery: g
buildTimeoutInMinutes: 5
regions: local
source:
  type: PlatfromImage
customize:
  - type: Shell
    name: one
    timout: 5m
    inline: [echo]
  - type: File
    destination: /etc/../shadow
    content: x
    inline: [no]
  - type: Shell
    name: one
    scriptUri: ../../etc/passwd
    timeout: soon
    env: {A: 1, A: 2}
    secrets: [nope]
  - type: Shell
    inline: ["${{ var.missing }}"]
lifecycle: {current: 5, keep: 3}
tests:
  - {file: {path: etc/x}, user: {name: a}}
tattoo: {IMAGE_VERSION: "1"}
`), ParseOptions{File: "recipe.yaml"})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Error())
	}
	want := []string{
		`recipe.yaml:1:1: the recipe does not say where the image goes (add gallery and definition, or distribute)`,
		`recipe.yaml:1:7: name: "../evil" is not valid here (letters, digits, dots, dashes and underscores, at most 80)`,
		`recipe.yaml:2:1: galery: there is no such field (did you mean gallery?)`,
		`recipe.yaml:3:24: buildTimeoutInMinutes: 5 is not between 6 and 960`,
		`recipe.yaml:4:10: regions: this is text, but it has to be a list`,
		`recipe.yaml:6:9: source.type: "PlatfromImage" is not valid here (did you mean PlatformImage?)`,
		`recipe.yaml:10:5: customize[0].timout: there is no such field (did you mean timeout?)`,
		`recipe.yaml:13:18: customize[1].destination: "/etc/../shadow" is not an absolute, clean path (such as /etc/motd, without .. and without a slash at the end)`,
		`recipe.yaml:15:5: customize[1].inline: type File has no such field (valid: type, name, sourceUri, destination, sha256Checksum, content, contentBase64, mode, owner)`,
		`recipe.yaml:17:11: customize[2].name: step "one" has the name of customize[0] (give each step its own name)`,
		`recipe.yaml:18:16: customize[2].scriptUri: "../../etc/passwd" leaves the recipe's folder (name a file beside the recipe, such as files/motd)`,
		`recipe.yaml:19:14: customize[2].timeout: "soon" is not a duration: write it like 90s, 10m, 1h30m or 30d`,
		`recipe.yaml:20:17: customize[2].env.A: this field is here twice; the first is on line 20`,
		`recipe.yaml:21:15: customize[2].secrets[0]: secret "nope" is not declared`,
		`recipe.yaml:23:14: customize[3].inline[0]: variable missing is not declared`,
		`recipe.yaml:24:31: lifecycle.keep: 3 versions are kept, but 5 count as approved (keep at least as many as current)`,
		`recipe.yaml:26:5: tests[0]: a test is exactly one of command, file, package, service, port, sysctl and user`,
		`recipe.yaml:26:19: tests[0].file.path: "etc/x" is not an absolute path`,
		`recipe.yaml:27:25: tattoo.IMAGE_VERSION: IMAGE_VERSION is written by Hallmark itself: choose another key`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRenderPointsAtTheMistake(t *testing.T) {
	source := []byte(minimal + "buildTimeoutInMinutes: 5\n")
	_, err := ParseRecipe(source, ParseOptions{File: "r.yaml"})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	want := `r.yaml:6:24: buildTimeoutInMinutes: 5 is not between 6 and 960
    6 | buildTimeoutInMinutes: 5
      |                        ^
1 mistake found.
`
	if diff := cmp.Diff(want, problems.Render(source)); diff != "" {
		t.Error(diff)
	}
}

func TestVariables(t *testing.T) {
	doc := minimal + `variables:
  size: 30
  colour: {allowedValues: [red, green]}
vmProfile: {osDiskSizeGB: "${{ var.size }}"}
tattoo: {COLOUR: "${{ var.colour }}", LITERAL: "$${{ var.x }}", SHELL: "$(id) ${HOME}"}
`
	r, err := ParseRecipe([]byte(doc), ParseOptions{Variables: map[string]string{"colour": "red", "size": "64"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.VMProfile.OSDiskSizeGB != 64 {
		t.Errorf("the number is %d", r.VMProfile.OSDiskSizeGB)
	}
	want := map[string]string{"COLOUR": "red", "LITERAL": "${{ var.x }}", "SHELL": "$(id) ${HOME}"}
	if diff := cmp.Diff(want, r.Tattoo); diff != "" {
		t.Error(diff)
	}
	for given, message := range map[string]string{"blue": "is not allowed", "": "no value was given"} {
		vars := map[string]string{}
		if given != "" {
			vars["colour"] = given
		}
		if _, err := ParseRecipe([]byte(doc), ParseOptions{Variables: vars}); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("colour %q: got %v", given, err)
		}
	}
	if _, err := ParseRecipe([]byte(doc), ParseOptions{Variables: map[string]string{"colour": "red", "colr": "x"}}); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an undeclared variable: got %v", err)
	}
}

func TestCacheCanBeSwitchedOff(t *testing.T) {
	for doc, want := range map[string]string{"": "1d", "cache: {}\n": "1d", "cache: {maxAge: 0s}\n": "0s", "cache: {maxAge: 12h}\n": "12h0m0s"} {
		r, err := ParseRecipe([]byte(minimal+doc), ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.clone()
		if err != nil || r.Cache.MaxAge.String() != want || *again.Cache.MaxAge != *r.Cache.MaxAge {
			t.Errorf("%q: %s, %v", doc, r.Cache.MaxAge, err)
		}
	}
}

func TestDigestIsOfTheMeaning(t *testing.T) {
	digest := func(doc string) string {
		t.Helper()
		r, err := ParseRecipe([]byte(doc), ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Digest()
	}
	base := digest(minimal)
	lines := strings.SplitAfter(minimal, "\n")
	slices.Reverse(lines)
	for name, doc := range map[string]string{
		"other order":      strings.Join(lines, ""),
		"a comment":        "# hello\n" + minimal,
		"default spelled":  minimal + "buildTimeoutInMinutes: 240\n",
		"unused variable":  minimal + "variables: {a: b}\n",
		"description only": minimal + "description: other\n",
	} {
		if digest(doc) != base {
			t.Errorf("%s changes the digest", name)
		}
	}
	if digest(minimal+"customize: [{type: Shell, inline: [id]}]\n") == base {
		t.Error("a step does not change the digest")
	}
}

func TestHostileDocuments(t *testing.T) {
	for name, doc := range map[string]string{
		"deep flow":    strings.Repeat("[", 100_000),
		"deep braces":  strings.Repeat("{a: ", 100_000),
		"deep block":   strings.Repeat("- ", 100_000) + "x",
		"deep indent":  strings.Repeat(" ", 5000) + "- x",
		"too large":    "name: " + strings.Repeat("x", 2<<20),
		"many pairs":   strings.Repeat("a: b\n", 200_000),
		"tabbed pairs": strings.Repeat("a:\tb\n", 100_000),
		"NUL":          "name: a\x00b",
		"anchor":       "name: &a x\ndescription: *a\n",
		"two":          minimal + "---\n" + minimal,
		"empty":        "",
		"scalar":       "hello",
		"deep json":    strings.Repeat(`{"a":`, 100_000),
		"json tail":    `{} {}`,
		"json large":   `{"name": "` + strings.Repeat("x", 5<<20) + `"}`,
		"merge":        "<<: {name: x}\n",
		"tag":          "name: !!binary x\n",
	} {
		if _, err := ParseRecipe([]byte(doc), ParseOptions{}); err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(err.Error()) > 5000 {
			t.Errorf("%s: the message has %d bytes", name, len(err.Error()))
		}
	}
}

func TestURLSource(t *testing.T) {
	doc := strings.Replace(minimal, "{type: PlatformImage, publisher: Debian, offer: debian-12, sku: 12-gen2}", "{type: URL, uri: 'http://user:pw@example.com/a.qcow2'}", 1)
	_, err := ParseRecipe([]byte(doc), ParseOptions{})
	for _, want := range []string{"credentials", "needs a digest"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestCertificateMustBeACA(t *testing.T) {
	_, err := ParseRecipe([]byte(minimal+"caCertificates: [{name: a, pem: \"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\"}]\n"), ParseOptions{})
	if err == nil || !strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Errorf("got %v", err)
	}
}

func TestPlanChecksInputs(t *testing.T) {
	r, err := ParseRecipe([]byte(minimal+"customize: [{type: Shell, scriptUri: a.sh, sha256Checksum: "+strings.Repeat("A", 64)+"}, {type: File, sourceUri: 'https://example.com/x', destination: /x}]\n"), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewPlan(r, ResolvedSource{}, map[string][]byte{"a.sh": []byte("echo\n")})
	for _, want := range []string{"has the digest", "was not fetched"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestStepDigests(t *testing.T) {
	step := func(doc string) Step {
		t.Helper()
		r, err := ParseRecipe([]byte(minimal+doc), ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := NewPlan(r, ResolvedSource{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Steps[0]
	}
	base := step("customize: [{type: Shell, inline: [id], name: a, timeout: 5m}]\n")
	if base.Script != "#!/bin/sh -e\nid\n" || !base.Network {
		t.Errorf("step is %+v", base)
	}
	if other := step("customize: [{type: Shell, inline: [id], name: b}]\nproxy: {http: 'http://p:3128'}\n"); other.Digest != base.Digest {
		t.Error("a name, a timeout or a proxy changes what a step makes")
	}
	for _, change := range []string{"inline: [id, id]", "inline: [id], network: none", "inline: [id], env: {A: b}", "inline: [id], boot: true"} {
		if step("customize: [{type: Shell, "+change+"}]\n").Digest == base.Digest {
			t.Errorf("%s does not change the digest", change)
		}
	}
	if s := step("customize: [{type: Shell, inline: ['#!/bin/bash\n\nid']}]\n"); !strings.HasPrefix(s.Script, "#!/bin/bash\n") {
		t.Errorf("a script's own first line is lost: %q", s.Script)
	}
}

func TestFromTemplateForms(t *testing.T) {
	properties := `{"source":{"type":"PlatformImage","publisher":"Canonical","offer":"o","sku":"s","version":"latest"},
"stagingResourceGroup":"x","managedResourceTags":{},"customize":[{"type":"Shell","name":"a","inline":["[ -d /tmp ]"]}],
"distribute":[{"type":"SharedImage","runOutputName":"out","galleryImageId":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/x/images/y","replicationRegions":["eastus"]}]}`
	resource := `{"type":"Microsoft.VirtualMachineImages/imageTemplates","apiVersion":"2022-02-14","location":"eastus","identity":{"type":"UserAssigned"},"properties":` + properties + `}`
	for name, doc := range map[string]string{"properties": properties, "resource": resource} {
		r, err := FromTemplate([]byte(doc), ParseOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Distribute[0].TargetRegions[0].Name != "eastus" || r.Customize[0].Inline[0] != "[ -d /tmp ]" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	deployment := `{"$schema":"x","resources":[{"type":"Other/x"},` + resource + `]}`
	_, err := FromTemplate([]byte(deployment), ParseOptions{})
	if err == nil || !strings.Contains(err.Error(), "resources[1].properties.customize[0].inline[0]: this is a template expression") {
		t.Errorf("deployment: %v", err)
	}
	r, err := FromTemplate([]byte(strings.Replace(deployment, `"[ -d`, `"[[ -d`, 1)), ParseOptions{})
	if err != nil || r.Customize[0].Inline[0] != "[ -d /tmp ]" {
		t.Errorf("escaped: %v", err)
	}
	nowhere := properties[:strings.Index(properties, `"distribute"`)]
	_, err = FromTemplate([]byte(strings.TrimRight(nowhere, ",\n")+"}"), ParseOptions{})
	if err == nil || !strings.Contains(err.Error(), "where the image goes") {
		t.Errorf("a template without distribute: %v", err)
	}
	_, err = FromTemplate([]byte(strings.Replace(resource, `"inline"`, `"inlin"`, 1)), ParseOptions{})
	if err == nil || !strings.Contains(err.Error(), "did you mean inline?") {
		t.Errorf("a mistake in a template: %v", err)
	}
}

func FuzzParseRecipe(f *testing.F) {
	for _, seed := range []string{minimal, "a: [b, {c: d}]\n", "? x\n: y\n", "- |\n  text\n", `{"name": "x", "source": {}}`, "a: &b c\nd: *b", "name: ${{ var.x }}\nvariables: {x: y}", "\"\\u0000\": 1", "tests:\n- command: id\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecipe(data, ParseOptions{})
		if err == nil {
			if _, err := r.clone(); err != nil {
				t.Errorf("a valid recipe that JSON cannot hold: %v", err)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) {
			t.Fatalf("not a list of problems: %v", err)
		}
		problems.Render(data)
	})
}

func FuzzFromTemplate(f *testing.F) {
	f.Add([]byte(`{"properties":{"source":{"type":"ManagedImage"},"hallmark":{"customize":{"0":{}}}}}`))
	f.Add([]byte(`{"resources":[{"type":"Microsoft.VirtualMachineImages/imageTemplates","properties":{"customize":["[x]"]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := FromTemplate(data, ParseOptions{}); err == nil {
			if _, err := r.ToTemplate(TemplateInput{}); err != nil && r.Inputs() == nil {
				t.Errorf("a template that cannot be rendered again: %v", err)
			}
		}
	})
}
