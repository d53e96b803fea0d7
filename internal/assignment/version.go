package assignment

import (
	"encoding/json"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Version is one version of a definition or initiative.
type Version struct {
	Name     string // 1.2.0
	Body     json.RawMessage
	Revision int64
	key      string // of its document
}

// versionsBelow stands between the key of a definition and the names of its versions.
const versionsBelow = "/versions/"

// versionOf reads which version a document is.
func versionOf(d *store.Document) Version {
	name := arm.GetString(d.Body, "properties.version")
	if name == "" {
		name = "1.0.0"
	}
	return Version{Name: name, Revision: d.Revision, key: d.Key}
}

// PickVersion is the highest version that a definitionVersion such as 1.*.* or
// 1.1.* allows; "" allows any. Previews are taken only where the pattern names one.
// False if none fits.
func PickVersion(all []Version, pattern string) (Version, bool) {
	var best Version
	for _, v := range all {
		if fits(v.Name, pattern) && (best.Name == "" || CompareVersions(v.Name, best.Name) > 0) {
			best = v
		}
	}
	return best, best.Name != ""
}

// PickMember is PickVersion for a policy of an initiative. Azure's public definitions
// are given out in their newest version only, while the initiatives around them may
// still name an older one: of a built-in definition the newest then has to do.
func PickMember(definition arm.ID, all []Version, pattern string) (Version, bool) {
	v, ok := PickVersion(all, pattern)
	if !ok && definition.Scope().IsRoot() {
		return PickVersion(all, "")
	}
	return v, ok
}

func fits(name, pattern string) bool {
	if pattern == "" {
		return true
	}
	number, preview, _ := strings.Cut(name, "-")
	want, wanted, _ := strings.Cut(pattern, "-")
	if !strings.EqualFold(preview, wanted) {
		return false
	}
	have, parts := strings.Split(number, "."), strings.Split(want, ".")
	for i, p := range parts {
		if p == "*" {
			continue
		}
		// Patches are always taken: 1.2.3 means 1.2.*.
		if i == 2 {
			continue
		}
		if i >= len(have) || have[i] != p {
			return false
		}
	}
	return true
}

// CompareVersions orders versions by their numbers; a preview is below its release.
func CompareVersions(a, b string) int {
	na, pa, _ := strings.Cut(a, "-")
	nb, pb, _ := strings.Cut(b, "-")
	as, bs := strings.Split(na, "."), strings.Split(nb, ".")
	for i := range max(len(as), len(bs)) {
		if d := part(as, i) - part(bs, i); d != 0 {
			return d
		}
	}
	switch {
	case pa == pb:
		return 0
	case pa == "":
		return 1
	case pb == "":
		return -1
	}
	return strings.Compare(pa, pb)
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return -1
	}
	return n
}
