package image

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Input is a file that a recipe needs from outside.
type Input struct {
	URI            string // relative to the recipe's folder, or http(s)
	Local          bool
	SHA256Checksum string // lower case; empty if the recipe has none
}

// maxInputBytes bounds one input. Image Builder stops at 20 MB.
const maxInputBytes = 20 << 20

// Inputs lists what has to be fetched before a plan can be made, each once, in
// the order of use.
func (r *Recipe) Inputs() []Input {
	var inputs []Input
	add := func(uri, checksum string) {
		input := Input{URI: uri, Local: !strings.Contains(uri, "://"), SHA256Checksum: strings.ToLower(checksum)}
		if uri != "" && !slices.Contains(inputs, input) {
			inputs = append(inputs, input)
		}
	}
	for _, ca := range r.CACertificates {
		add(ca.File, "")
	}
	for _, step := range r.allSteps() {
		add(step.ScriptURI, step.SHA256Checksum)
		add(step.SourceURI, step.SHA256Checksum)
	}
	return inputs
}

func (r *Recipe) allSteps() []Customizer {
	if r.Validate == nil {
		return r.Customize
	}
	return slices.Concat(r.Customize, r.Validate.InVMValidations)
}

// check compares fetched bytes with what the recipe says of them.
func (in Input) check(data []byte) error {
	if len(data) > maxInputBytes {
		return fmt.Errorf("%s has %d bytes; %d are allowed: install it in a step that downloads it", in.URI, len(data), maxInputBytes)
	}
	if got := digestOf(data); in.SHA256Checksum != "" && got != in.SHA256Checksum {
		return fmt.Errorf("%s has the digest %s, but the recipe says %s: check what changed, then correct sha256Checksum", in.URI, got, in.SHA256Checksum)
	}
	return nil
}

// Embed returns a copy of the recipe in which the files beside it have become
// part of it, so that it can travel. files are their contents by URI; remote
// inputs stay references. Mistakes are [Problems].
func (r *Recipe) Embed(files map[string][]byte) (*Recipe, error) {
	var problems Problems
	for _, in := range r.Inputs() {
		if !in.Local {
			continue
		}
		data, ok := files[in.URI]
		if !ok {
			problems = append(problems, Problem{Message: "file " + in.URI + " is missing", Hint: "it is looked for beside the recipe"})
		} else if err := in.check(data); err != nil {
			problems = append(problems, Problem{Message: err.Error()})
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	out, err := r.clone()
	if err != nil {
		return nil, err
	}
	for i := range out.CACertificates {
		if ca := &out.CACertificates[i]; ca.File != "" {
			ca.PEM, ca.File = string(files[ca.File]), ""
			if _, err := certificates([]byte(ca.PEM)); err != nil {
				problems = append(problems, Problem{Path: fmt.Sprintf("caCertificates[%d]", i), Message: err.Error()})
			}
		}
	}
	embedSteps(out.Customize, files)
	if out.Validate != nil {
		embedSteps(out.Validate.InVMValidations, files)
	}
	return out, problems.err()
}

func embedSteps(steps []Customizer, files map[string][]byte) {
	for i := range steps {
		step := &steps[i]
		if data, ok := files[step.ScriptURI]; ok && !strings.Contains(step.ScriptURI, "://") {
			step.Inline, step.ScriptURI, step.SHA256Checksum = Lines{string(data)}, "", ""
		}
		if data, ok := files[step.SourceURI]; ok && !strings.Contains(step.SourceURI, "://") {
			step.setContent(data)
		}
	}
}

func (c *Customizer) setContent(data []byte) {
	c.SourceURI, c.SHA256Checksum = "", ""
	if utf8.Valid(data) && !slices.Contains(data, 0) {
		text := string(data)
		c.Content = &text
		return
	}
	c.ContentBase64 = base64.StdEncoding.EncodeToString(data)
}

// clone copies by way of JSON, which the recipe has to survive anyway.
func (r *Recipe) clone() (*Recipe, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("copy the recipe: %w", err)
	}
	var out Recipe
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("copy the recipe: %w", err)
	}
	return &out, nil
}
