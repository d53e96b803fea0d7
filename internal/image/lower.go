package image

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// lower rewrites a recipe so that Azure's own Image Builder can run it: our
// steps run as root and may carry an environment, a time limit, content of
// their own, and Azure's Shell has none of that.
func (r *Recipe) lower() error {
	if r.Source.Type == "URL" {
		return fmt.Errorf("render for Azure: a source of type URL exists only on Hallmark's own control plane: import it as a managed image first")
	}
	customizers, err := r.expand(nil)
	if err != nil {
		return fmt.Errorf("render for Azure: %w", err)
	}
	if r.Customize, err = r.lowerSteps(customizers); err != nil {
		return err
	}
	if r.Validate != nil {
		r.Validate.InVMValidations, err = r.lowerSteps(r.Validate.InVMValidations)
	}
	return err
}

func (r *Recipe) lowerSteps(list []Customizer) ([]Customizer, error) {
	out := make([]Customizer, 0, len(list))
	for i, step := range list {
		if len(step.Secrets) > 0 {
			return nil, fmt.Errorf("render for Azure: step %q uses secrets, which Image Builder cannot pass on: give the build machine an identity (vmProfile.userAssignedIdentities) and read them from a key vault", step.Name)
		}
		setString(&step.Name, fmt.Sprintf("%s %d", step.Type, i+1))
		switch {
		case step.Type == "Shell" && step.ScriptURI != "":
			out = append(out, r.lowerRemoteScript(step))
		case step.Type == "Shell":
			out = append(out, shell(step.Name, asRoot(step.shellScript(nil), r.environment(step), step)))
		case step.Type == "File" && step.SourceURI == "":
			script, err := writeFile(step)
			if err != nil {
				return nil, fmt.Errorf("render for Azure: step %q: %w", step.Name, err)
			}
			out = append(out, shell(step.Name, asRoot(script, map[string]string{}, step)))
		case step.Type == "File":
			out = append(out, lowerRemoteFile(step, i)...)
		default:
			out = append(out, step)
		}
	}
	return out, nil
}

func shell(name, script string) Customizer {
	return Customizer{Type: "Shell", Name: name, Inline: Lines(strings.Split(strings.TrimSuffix(script, "\n"), "\n"))}
}

func (r *Recipe) environment(step Customizer) map[string]string {
	return merge(r.commonEnvironment(), step.Env)
}

// lowerRemoteScript fetches in the step, because Image Builder would run what
// it fetches itself without root and without the step's environment.
func (r *Recipe) lowerRemoteScript(step Customizer) Customizer {
	script := "#!/bin/sh -e\nscript=$(mktemp)\ntrap 'rm -f \"$script\"' EXIT\ncurl -fsSL --retry 3 -o \"$script\" " + literal(step.ScriptURI) + "\n"
	if step.SHA256Checksum != "" {
		script += "echo " + literal(strings.ToLower(step.SHA256Checksum)) + "\"  $script\" | sha256sum -c -\n"
	}
	script += "chmod 0700 \"$script\"\n\"$script\"\n"
	return shell(step.Name, asRoot(script, r.environment(step), step))
}

// lowerRemoteFile lets Image Builder fetch to /tmp, the only place where it
// can, and moves the file from there.
func lowerRemoteFile(step Customizer, i int) []Customizer {
	waiting := fmt.Sprintf("/tmp/hallmark-file-%d", i)
	fetch := Customizer{Type: "File", Name: step.Name, SourceURI: step.SourceURI, SHA256Checksum: step.SHA256Checksum, Destination: waiting}
	script := "#!/bin/sh -e\n" + install(step, waiting) + "rm -f " + waiting + "\n"
	return []Customizer{fetch, shell(step.Name+" (place)", asRoot(script, map[string]string{}, step))}
}

func writeFile(step Customizer) (string, error) {
	content, err := step.content(nil)
	if err != nil {
		return "", err
	}
	encoded := base64.StdEncoding.EncodeToString(content)
	var b strings.Builder
	b.WriteString("#!/bin/sh -e\nfile=$(mktemp)\nbase64 -d > \"$file\" <<'END_OF_FILE'\n")
	for chunk := range slices.Chunk([]byte(encoded), 76) {
		b.Write(chunk)
		b.WriteByte('\n')
	}
	b.WriteString("END_OF_FILE\n" + install(step, `"$file"`) + "rm -f \"$file\"\n")
	return b.String(), nil
}

func install(step Customizer, from string) string {
	user, group, _ := strings.Cut(step.Owner, ":")
	setString(&group, user)
	directory := step.Destination[:max(strings.LastIndexByte(step.Destination, '/'), 1)]
	return fmt.Sprintf("mkdir -p %s\ninstall -m %s -o %s -g %s %s %s\n", literal(directory), step.Mode, user, group, from, literal(step.Destination))
}

// asRoot wraps a script so that it runs as root with its environment and time
// limit, and so that its accepted exit codes count as success. It is written
// to a file first: a script on standard input could be eaten by a command that
// reads it.
func asRoot(script string, env map[string]string, step Customizer) string {
	end := "END_OF_STEP"
	for strings.Contains(script, end) {
		end += "_"
	}
	var run strings.Builder
	run.WriteString(`sudo env`)
	for _, name := range sortedKeys(env) {
		run.WriteString(" " + name + "=" + literal(env[name]))
	}
	if step.Timeout > 0 {
		fmt.Fprintf(&run, " timeout %d", int(step.Timeout.Std().Seconds()))
	}
	if !strings.HasSuffix(script, "\n") {
		script += "\n"
	}
	return "step=$(mktemp)\ncat > \"$step\" <<'" + end + "'\n" + script + end + "\nchmod 0700 \"$step\"\ncode=0\n" + run.String() +
		" \"$step\" || code=$?\nsudo rm -f \"$step\"\n" + acceptCodes(step.ValidExitCodes)
}

func acceptCodes(codes []int) string {
	accepted := []string{"0"}
	if len(codes) > 0 {
		accepted = nil
	}
	for _, code := range codes {
		accepted = append(accepted, itoa(code))
	}
	return "case \"$code\" in " + strings.Join(accepted, "|") + ") ;; *) echo \"the step ended with exit code $code\" >&2; test \"$code\" -ne 0 || code=1; exit \"$code\" ;; esac\n"
}

// literal quotes a text for a POSIX shell, always.
func literal(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
