package image

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a gallery image version: Major.Minor.Patch, each a 32-bit integer.
type Version struct{ Major, Minor, Patch int }

// ErrVersion is wrapped by every error about a version's text.
var ErrVersion = errors.New("not a gallery image version")

const maxVersionPart = 1<<31 - 1

// ParseVersion reads "1.2.3". It accepts no sign, no suffix and no leading
// zeros, so that two spellings never name one version.
func ParseVersion(text string) (Version, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Version{}, fmt.Errorf("%w: %s: write Major.Minor.Patch, such as 1.0.3", ErrVersion, quote(text))
	}
	var numbers [3]int
	for i, part := range parts {
		n, ok := versionPart(part)
		if !ok {
			return Version{}, fmt.Errorf("%w: %s: each part is a number between 0 and %d without leading zeros", ErrVersion, quote(text), maxVersionPart)
		}
		numbers[i] = n
	}
	return Version{numbers[0], numbers[1], numbers[2]}, nil
}

func versionPart(part string) (int, bool) {
	n, err := strconv.ParseUint(part, 10, 32)
	return int(n), err == nil && n <= maxVersionPart && strconv.FormatUint(n, 10) == part
}

// String writes Major.Minor.Patch.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare orders by major, then minor, then patch.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch))
}

// Candidate is a version as `latest` sees it.
type Candidate struct {
	Version           Version
	ExcludeFromLatest bool
}

// Latest is what `latest` stands for: the highest version that is not excluded.
func Latest(versions []Candidate) (Version, bool) {
	best, found := Version{}, false
	for _, c := range versions {
		if !c.ExcludeFromLatest && (!found || c.Version.Compare(best) > 0) {
			best, found = c.Version, true
		}
	}
	return best, found
}

// NextVersion finds the number of a new version as Image Builder's versioning
// property describes it. existing are all versions of the definition, excluded
// ones too: a number is never used twice.
//
// Scheme Latest (or none) is the highest version, of Major if that is given,
// with its patch incremented; the first version of a major is Major.0.0, and
// the very first one without a major is 0.0.1. Scheme Source takes the first
// three numbers of the source's version, and the next free patch if that
// version exists.
func NextVersion(scheme *Versioning, existing []Version, source string) (Version, error) {
	if scheme != nil && scheme.Scheme == "Source" {
		return sourceVersion(existing, source)
	}
	var major *int
	if scheme != nil {
		major = scheme.Major
	}
	var highest Version
	found := false
	for _, v := range existing {
		if (major == nil || v.Major == *major) && (!found || v.Compare(highest) > 0) {
			highest, found = v, true
		}
	}
	switch {
	case found:
		return increment(highest)
	case major == nil || *major == 0:
		return Version{0, 0, 1}, nil
	}
	return Version{*major, 0, 0}, nil
}

func sourceVersion(existing []Version, source string) (Version, error) {
	var numbers [3]int
	for i, part := range strings.SplitN(source, ".", 4)[:min(3, strings.Count(source, ".")+1)] {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return Version{}, fmt.Errorf("%w: the scheme Source needs a source version of numbers, not %s: use the scheme Latest", ErrVersion, quote(source))
		}
		numbers[i] = int(n)
	}
	next := Version{numbers[0], numbers[1], numbers[2]}
	for slices.Contains(existing, next) {
		var err error
		if next, err = increment(next); err != nil {
			return Version{}, err
		}
	}
	return next, nil
}

func increment(v Version) (Version, error) {
	if v.Patch == maxVersionPart {
		return Version{}, fmt.Errorf("%w: after %s there is no patch number left: raise major or minor", ErrVersion, v)
	}
	v.Patch++
	return v, nil
}
