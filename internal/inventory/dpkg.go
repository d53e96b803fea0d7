package inventory

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Package is an installed package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture,omitempty"`
}

// maxLine is longer than any line of a status file.
const maxLine = 1 << 20

// ParseStatus reads dpkg's status file (deb822(5), dpkg(1)): the packages that are
// installed, by name and architecture. Those whose configuration alone is left
// are not.
func ParseStatus(r io.Reader) ([]Package, error) {
	var all []Package
	var p Package
	installed := false
	end := func() {
		if installed && p.Name != "" {
			all = append(all, p)
		}
		p, installed = Package{}, false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || line[0] == ' ' || line[0] == '\t' { // a line that goes on
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "package":
			p.Name = value
		case "version":
			p.Version = value
		case "architecture":
			p.Architecture = value
		case "status":
			words := strings.Fields(value)
			installed = len(words) == 3 && words[2] == "installed"
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading dpkg's status: %w", err)
	}
	slices.SortFunc(all, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	return all, nil
}
