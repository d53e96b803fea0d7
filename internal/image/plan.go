package image

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Kinds of steps.
const (
	KindShell          = "Shell"
	KindFile           = "File"
	KindPowerShell     = "PowerShell"
	KindWindowsRestart = "WindowsRestart"
	KindWindowsUpdate  = "WindowsUpdate"
)

// ResolvedSource is the image that `latest` turned out to be.
type ResolvedSource struct {
	ID        string `json:"id,omitempty"` // resource id or URI
	Publisher string `json:"publisher,omitempty"`
	Offer     string `json:"offer,omitempty"`
	SKU       string `json:"sku,omitempty"`
	Version   string `json:"version,omitempty"`
	Digest    string `json:"digest,omitempty"`
}

// Step is one thing that a build does, complete: carrying it out needs nothing
// but the step, the values of its secrets, and the network if Network is set.
type Step struct {
	Kind string `json:"kind"`
	Name string `json:"name"`

	Script         string            `json:"script,omitempty"` // a whole script, with its #! line
	Env            map[string]string `json:"env,omitempty"`
	Secrets        []string          `json:"secrets,omitempty"` // names; values appear under /run/secrets
	ValidExitCodes []int             `json:"validExitCodes,omitempty"`
	Network        bool              `json:"network,omitempty"`
	Isolation      string            `json:"isolation,omitempty"` // container or vm
	Boot           bool              `json:"boot,omitempty"`      // start the image's services first
	Timeout        Duration          `json:"timeout,omitempty"`   // zero: what is left of the build's

	Destination string `json:"destination,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Owner       string `json:"owner,omitempty"`
	Content     []byte `json:"content,omitempty"`

	// Windows, as the customizer has it.
	Windows *Customizer `json:"windows,omitempty"`

	// Digest identifies what the step does: everything above but its name and
	// its timeout.
	Digest string `json:"digest,omitempty"`
}

// Plan is what a recipe stands for, once its source is resolved and its inputs
// are fetched.
type Plan struct {
	Source      ResolvedSource    `json:"source"`
	Environment map[string]string `json:"environment,omitempty"` // for every step (proxy and such); not part of a digest
	Steps       []Step            `json:"steps"`
	Validations []Step            `json:"validations,omitempty"`
	Digest      string            `json:"digest"` // of source and steps: the same plan makes the same image
}

// NewPlan turns a recipe into steps. inputs hold the bytes of every [Input] by
// URI (those that are embedded are not needed). Mistakes are [Problems].
func NewPlan(r *Recipe, source ResolvedSource, inputs map[string][]byte) (*Plan, error) {
	if problems := checkInputs(r, inputs); len(problems) > 0 {
		return nil, problems
	}
	customizers, err := r.expand(inputs)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	plan := &Plan{Source: source, Environment: r.commonEnvironment()}
	if plan.Steps, err = steps("customize", customizers, inputs); err != nil {
		return nil, err
	}
	if r.Validate != nil {
		if plan.Validations, err = steps("validate", r.Validate.InVMValidations, inputs); err != nil {
			return nil, err
		}
	}
	digests := make([]string, len(plan.Steps))
	for i, step := range plan.Steps {
		digests[i] = step.Digest
	}
	plan.Digest = "sha256:" + canonicalDigest(map[string]any{"source": source, "steps": digests})
	return plan, nil
}

func checkInputs(r *Recipe, inputs map[string][]byte) Problems {
	var problems Problems
	for _, in := range r.Inputs() {
		data, ok := inputs[in.URI]
		if !ok {
			problems = append(problems, Problem{Message: "input " + in.URI + " was not fetched"})
		} else if err := in.check(data); err != nil {
			problems = append(problems, Problem{Message: err.Error()})
		}
	}
	return problems
}

// expand writes everything that a recipe says about the image as customizers,
// in the order in which they run.
func (r *Recipe) expand(files map[string][]byte) ([]Customizer, error) {
	var out []Customizer
	if len(r.CACertificates) > 0 {
		step, err := certificateStep(r.CACertificates, files)
		if err != nil {
			return nil, err
		}
		out = append(out, step)
	}
	if r.AptMirror != "" {
		out = append(out, mirrorStep(r.AptMirror))
	}
	out = append(out, r.Customize...)
	if r.AptMirror != "" {
		out = append(out, unmirrorStep())
	}
	return out, nil
}

const mirrorBackup = "/etc/apt/.sources-before-build"

// mirrorStep points apt at a mirror for the time of the build.
func mirrorStep(mirror string) Customizer {
	script := "test ! -e " + mirrorBackup + "\nmkdir " + mirrorBackup + "\n" +
		"for f in /etc/apt/sources.list /etc/apt/sources.list.d/*; do\n  test -f \"$f\" || continue\n" +
		"  cp -p \"$f\" " + mirrorBackup + "/\n  " + mirrorCommand(mirror) + " -i \"$f\"\ndone\n"
	step := Customizer{Type: "Shell", Name: "use the package mirror", Inline: Lines{script}, Network: "none"}
	step.setDefaults()
	return step
}

// mirrorCommand is the sed that replaces the distributions' own hosts. The
// checker keeps characters that mean something to sed out of the address.
func mirrorCommand(mirror string) string {
	return `sed -E 's#https?://(deb|security|archive|ftp)\.(debian\.org|ubuntu\.com)#` + strings.TrimSuffix(mirror, "/") + `#g'`
}

func unmirrorStep() Customizer {
	script := "for f in " + mirrorBackup + "/*; do\n  test -f \"$f\" || continue\n  case \"$f\" in */sources.list) cp -p \"$f\" /etc/apt/ ;; *) cp -p \"$f\" /etc/apt/sources.list.d/ ;; esac\ndone\nrm -rf " + mirrorBackup + "\n"
	step := Customizer{Type: "Shell", Name: "restore the package sources", Inline: Lines{script}, Network: "none"}
	step.setDefaults()
	return step
}

func (r *Recipe) commonEnvironment() map[string]string {
	env := map[string]string{"DEBIAN_FRONTEND": "noninteractive"}
	if r.Proxy == nil {
		return env
	}
	for name, value := range map[string]string{"http_proxy": r.Proxy.HTTP, "https_proxy": r.Proxy.HTTPS, "no_proxy": strings.Join(r.Proxy.NoProxy, ",")} {
		if value != "" {
			env[name], env[strings.ToUpper(name)] = value, value
		}
	}
	return env
}

func steps(list string, customizers []Customizer, inputs map[string][]byte) ([]Step, error) {
	out := make([]Step, 0, len(customizers))
	for i, c := range customizers {
		step, err := c.step(inputs)
		if err != nil {
			return nil, Problems{{Path: fmt.Sprintf("%s[%d]", list, i), Message: err.Error()}}
		}
		if step.Name == "" {
			step.Name = fmt.Sprintf("%s %d", c.Type, i+1)
		}
		out = append(out, step)
	}
	return out, nil
}

func (c Customizer) step(inputs map[string][]byte) (Step, error) {
	step := Step{Kind: c.Type}
	switch c.Type {
	case KindShell:
		step.Script = c.shellScript(inputs)
		step.Env, step.Secrets, step.ValidExitCodes = c.Env, c.Secrets, c.ValidExitCodes
		step.Network, step.Isolation, step.Boot = c.Network != "none", c.Isolation, c.Boot
	case KindFile:
		content, err := c.content(inputs)
		if err != nil {
			return Step{}, err
		}
		step.Content, step.Destination, step.Mode, step.Owner = content, c.Destination, c.Mode, c.Owner
	case KindPowerShell:
		step.Script = strings.Join(c.Inline, "\r\n")
		if c.ScriptURI != "" {
			step.Script = string(inputs[c.ScriptURI])
		}
		step.Network, step.Isolation, step.Windows = true, "vm", &c
	default:
		step.Network, step.Isolation, step.Windows = true, "vm", &c
	}
	step.Digest = "sha256:" + canonicalDigest(step) // before name and timeout are set
	step.Name, step.Timeout = c.Name, c.Timeout
	return step, nil
}

// shellScript is the script as a file: inline commands stop at the first
// failure, as Image Builder's do; a script that brings its own #! line is run
// as it is.
func (c Customizer) shellScript(inputs map[string][]byte) string {
	text := strings.Join(c.Inline, "\n")
	if c.ScriptURI != "" {
		text = string(inputs[c.ScriptURI])
	}
	if strings.HasPrefix(text, "#!") {
		return text
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return "#!/bin/sh -e\n" + text
}

func (c Customizer) content(inputs map[string][]byte) ([]byte, error) {
	switch {
	case c.Content != nil:
		return []byte(*c.Content), nil
	case c.ContentBase64 != "":
		data, err := base64.StdEncoding.DecodeString(c.ContentBase64)
		if err != nil {
			return nil, fmt.Errorf("contentBase64 is not base64: %w", err)
		}
		return data, nil
	}
	return inputs[c.SourceURI], nil
}

// TattooSteps are the steps that leave a tattoo in an image: the last of a
// build. They are not part of a plan, because every run has its own tattoo.
func TattooSteps(tattoo, signature []byte) []Step {
	var out []Step
	for _, f := range tattooFiles(tattoo, signature) {
		step, err := f.step(nil)
		if err == nil { // a literal content cannot fail
			out = append(out, step)
		}
	}
	return out
}

func tattooFiles(tattoo, signature []byte) []Customizer {
	var out []Customizer
	for _, f := range []struct {
		name, path string
		data       []byte
	}{{"write the tattoo", TattooPath, tattoo}, {"write the tattoo's signature", TattooSignaturePath, signature}} {
		if len(f.data) > 0 {
			step := Customizer{Type: "File", Name: f.name, Destination: f.path}
			step.setContent(f.data)
			step.setDefaults()
			out = append(out, step)
		}
	}
	return out
}
