package build

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/shellword"
)

// runDir is where a step finds its files, in the container and in a machine.
const runDir = "/run/hallmark"

// vmStep turns a step into what a machine is to do: a program, and the files
// that it needs. Whatever its kind, the machine only runs it.
func (r *runner) vmStep(s Step, path, contentDigest string) (VMStep, error) {
	v := VMStep{Run: r.run, Image: path, Step: s, Command: []string{"/bin/sh", runDir + "/step"}, Env: r.stepEnv(s), Files: map[string][]byte{}}
	switch s.Kind {
	case Shell:
		v.Command, v.Secrets = interpreter(s), r.plan.Secrets
		v.Files["step"], v.Files["apt.conf"] = script(s), aptConf(r.plan)
	case File:
		content, err := fileContent(s, contentDigest)
		if err != nil {
			return v, err
		}
		v.Files["content"] = content
		v.Files["step"] = []byte(putScript + put("content", s.Dest, s.Mode, s.Owner))
	case Tattoo:
		v.Files["tattoo"] = s.TattooText
		text := putScript + put("tattoo", "/etc/hallmark/tattoo", 0o644, "")
		if len(s.Signature) > 0 {
			v.Files["tattoo.sig"] = s.Signature
			text += put("tattoo.sig", "/etc/hallmark/tattoo.sig", 0o644, "")
		}
		v.Files["step"] = []byte(text)
	case CACertificate:
		certificates, err := parseCertificates(s.Certificates)
		if err != nil {
			return v, err
		}
		for _, c := range certificates {
			v.Files[c.name+".crt"] = c.text
		}
		v.Files["step"] = []byte(trustScript(certificates))
	default:
		return v, fmt.Errorf("a step of kind %q cannot run in a machine", s.Kind)
	}
	return v, nil
}

// putScript places a file as tree.write does: parents are made, the file appears
// whole, and a symbolic link at the very end is replaced. The owner is set first:
// changing it takes set-id bits away.
const putScript = `set -e
umask 022
put() {
  dir=${2%/*}
  mkdir -p "${dir:-/}"
  temp=$(mktemp "${dir:-}/.hallmark.XXXXXX")
  cat "` + runDir + `/$1" > "$temp"
  chown "$4" "$temp"
  chmod "$3" "$temp"
  mv -fT "$temp" "$2"
}
`

func put(name, dest string, mode fs.FileMode, owner string) string {
	return "put " + strings.Join([]string{shellword.Quote(name), shellword.Quote(dest), fmt.Sprintf("%04o", unixMode(mode)), shellword.Quote(chownSpec(owner))}, " ") + "\n"
}

// unixMode has set-id and sticky bits where chmod(1) has them.
func unixMode(mode fs.FileMode) uint32 {
	if mode == 0 {
		mode = 0o644
	}
	bits := uint32(mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// chownSpec says to chown(1) what tree.owner makes of an owner: without a group,
// a user's primary one, and for a number the same number.
func chownSpec(owner string) string {
	if owner == "" {
		return "0:0"
	}
	if strings.Contains(owner, ":") {
		return owner
	}
	if _, err := strconv.ParseUint(owner, 10, 31); err == nil {
		return owner + ":" + owner
	}
	return owner + ":"
}

// trustScript is addCertificates for a machine.
func trustScript(certificates []certificate) string {
	var b strings.Builder
	b.WriteString(putScript)
	for i, store := range trustStores {
		b.WriteString([]string{"if", "elif"}[min(i, 1)] + " [ -e " + store.tool + " ]; then\n")
		for _, c := range certificates {
			b.WriteString(put(c.name+".crt", store.dir+"/hallmark-"+c.name+".crt", 0o644, ""))
		}
		b.WriteString(store.command + "\n")
	}
	b.WriteString("else\necho " + shellword.Quote(errNoTrustStore.Error()) + " >&2\nexit 1\nfi\n")
	return b.String()
}

// fileContent reads a File step's content, and holds it to the digest that its
// cache key was made of.
func fileContent(s Step, digest string) ([]byte, error) {
	if s.Source == "" {
		return s.Content, nil
	}
	content, err := os.ReadFile(s.Source)
	if err != nil {
		return nil, err
	}
	if sum(content) != digest {
		return nil, fmt.Errorf("%s changed while the build ran", s.Source)
	}
	return content, nil
}
