package base

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Mirror says where Debian's packages come from.
type Mirror struct {
	Main     string // default: where this host's own packages come from
	Security string // the same
	Keyring  string // default: package debian-archive-keyring's
}

// aptSources is where apt keeps what it knows of mirrors (sources.list(5)).
const aptSources = "/etc/apt"

func (m Mirror) withDefaults() Mirror {
	host := HostMirror()
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
		*s = strings.TrimSuffix(*s, "/")
	}
	set(&m.Main, host.Main)
	set(&m.Security, host.Security)
	set(&m.Keyring, "/usr/share/keyrings/debian-archive-keyring.gpg")
	return m
}

// validate keeps an address from becoming another option of an apt source line.
// None at all is said where one is needed: not every catalogue has Debian in it.
func (m Mirror) validate() error {
	for _, u := range []string{m.Main, m.Security} {
		if u != "" && (!isURL(u) || strings.ContainsAny(u, " \t\r\n[]")) {
			return fmt.Errorf("package mirror %q is not an http, https or file URL", u)
		}
	}
	return nil
}

// HostMirror is where this host's own packages come from, as far as apt's
// sources say: what an enterprise has set up for its hosts serves its images,
// too. A host that is not Debian has none.
func HostMirror() Mirror { return mirrorIn(aptSources) }

func mirrorIn(dir string) Mirror {
	var m Mirror
	for _, file := range sourceFiles(dir) {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // apt has its own word to say about that
		}
		for word := range strings.FieldsSeq(withoutComments(string(text))) {
			m.note(word)
		}
	}
	return m
}

func sourceFiles(dir string) []string {
	lists, _ := filepath.Glob(filepath.Join(dir, "sources.list.d", "*.list"))
	stanzas, _ := filepath.Glob(filepath.Join(dir, "sources.list.d", "*.sources"))
	return slices.Concat([]string{filepath.Join(dir, "sources.list")}, stanzas, lists)
}

func withoutComments(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// note takes a word for a mirror where it is an address that ends as Debian's
// archives do on every mirror.
func (m *Mirror) note(word string) {
	u, err := url.Parse(word)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return
	}
	switch address := strings.TrimSuffix(word, "/"); path.Base(u.Path) {
	case "debian":
		if m.Main == "" {
			m.Main = address
		}
	case "debian-security":
		if m.Security == "" {
			m.Security = address
		}
	}
}
