package base

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"hallmark.dev/hallmark/internal/disk"
)

// Latest stands for the newest version in a Ref.
const Latest = "latest"

// Ref names an image as Azure's imageReference does.
type Ref struct {
	Publisher, Offer, SKU, Version string
}

func (r Ref) String() string {
	return strings.Join([]string{r.Publisher, r.Offer, r.SKU, r.Version}, ":")
}

// Entry is an image that the catalogue offers; exactly one source is set.
type Entry struct {
	Publisher   string      `yaml:"publisher"`
	Offer       string      `yaml:"offer"`
	SKU         string      `yaml:"sku"`
	Description string      `yaml:"description"`
	Debian      *Debian     `yaml:"-"`
	File        *FileSource `yaml:",inline"`
}

// Debian is a release that is assembled from the package mirror.
type Debian struct {
	Release  string // 12
	Codename string // bookworm
}

// FileSource is an image behind a URL (http, https or file), optionally
// compressed (.xz, .zst). Its digest is given, or stands in a checksum file.
type FileSource struct {
	URL string `yaml:"url"`
	// Digest of the file as it is fetched: sha256:… or sha512:…
	Digest string `yaml:"digest"`
	// Checksums is the URL of a SHA256SUMS or SHA512SUMS file that names the file.
	Checksums string `yaml:"checksums"`
	// Version, three dotted numbers. It may be left out with Checksums: then it
	// is made of that file's date.
	Version string      `yaml:"version"`
	Format  disk.Format `yaml:"format"` // qcow2, raw or vhd; default: what the file is
}

// ErrNotOffered means that the catalogue has no such image.
var ErrNotOffered = errors.New("not in the marketplace catalogue")

// Catalogue is what is on offer.
type Catalogue struct{ entries []Entry }

// Builtin are the Debian releases that need no configuration.
func Builtin() []Entry {
	var out []Entry
	for _, d := range []Debian{{"12", "bookworm"}, {"13", "trixie"}} {
		out = append(out, Entry{Publisher: "Debian", Offer: "debian-" + d.Release, SKU: d.Release + "-gen2",
			Description: "Debian " + d.Release + " (" + d.Codename + "), assembled from the package mirror", Debian: &d})
	}
	return out
}

// NewCatalogue offers the built-in entries and more; an entry of more replaces
// a built-in one of the same name.
func NewCatalogue(more []Entry) Catalogue {
	var c Catalogue
	for _, e := range append(slices.Clone(more), Builtin()...) {
		if _, err := c.Find(e.Publisher, e.Offer, e.SKU); err != nil {
			c.entries = append(c.entries, e)
		}
	}
	slices.SortStableFunc(c.entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Publisher, b.Publisher), strings.Compare(a.Offer, b.Offer), strings.Compare(a.SKU, b.SKU))
	})
	return c
}

// Entries lists what is offered, sorted.
func (c Catalogue) Entries() []Entry { return slices.Clone(c.entries) }

// Find looks an entry up. Case does not matter, as in Azure.
func (c Catalogue) Find(publisher, offer, sku string) (Entry, error) {
	var have []string
	for _, e := range c.entries {
		if strings.EqualFold(e.Publisher, publisher) && strings.EqualFold(e.Offer, offer) && strings.EqualFold(e.SKU, sku) {
			return e, nil
		}
		have = append(have, strings.Join([]string{e.Publisher, e.Offer, e.SKU}, ":"))
	}
	return Entry{}, fmt.Errorf("%s:%s:%s is %w; there is %s", publisher, offer, sku, ErrNotOffered, strings.Join(have, ", "))
}

// ParseCatalogue reads a catalogue file: YAML, a list under `images`. Every
// mistake is reported, with its place; name is the file's, for messages.
func ParseCatalogue(name string, text []byte) ([]Entry, error) {
	var doc struct {
		Images []Entry `yaml:"images"`
	}
	if err := yaml.UnmarshalWithOptions(text, &doc, yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("%s: %s", name, yaml.FormatError(err, false, false))
	}
	var errs []error
	for i, e := range doc.Images {
		for _, err := range e.validate() {
			errs = append(errs, fmt.Errorf("%s: images[%d].%w", name, i, err))
		}
		if slices.ContainsFunc(doc.Images[:i], func(o Entry) bool {
			return strings.EqualFold(o.Publisher+"\n"+o.Offer+"\n"+o.SKU, e.Publisher+"\n"+e.Offer+"\n"+e.SKU)
		}) {
			errs = append(errs, fmt.Errorf("%s: images[%d]: %s:%s:%s is there twice", name, i, e.Publisher, e.Offer, e.SKU))
		}
	}
	return doc.Images, errors.Join(errs...)
}

var (
	wordPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$`)
	versionPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)
	digestPattern  = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

func (e Entry) validate() []error {
	var errs []error
	wrong := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, f := range [][2]string{{"publisher", e.Publisher}, {"offer", e.Offer}, {"sku", e.SKU}} {
		wrong(wordPattern.MatchString(f[1]), "%s: %q: letters, digits, dots, dashes and underscores, at most 80", f[0], f[1])
	}
	f := e.File
	if f == nil {
		f = &FileSource{}
	}
	wrong(isURL(f.URL), "url: %q is not an http, https or file URL", f.URL)
	wrong((f.Digest == "") != (f.Checksums == ""), "digest: give either digest or checksums")
	wrong(f.Digest == "" || digestPattern.MatchString(f.Digest), "digest: %q: must be sha256: or sha512: with the digest in lower-case hexadecimal", f.Digest)
	wrong(f.Checksums == "" || isURL(f.Checksums), "checksums: %q is not an http, https or file URL", f.Checksums)
	wrong(f.Version != "" || f.Checksums != "", "version: needed where the digest is fixed")
	wrong(f.Version == "" || versionPattern.MatchString(f.Version), "version: %q: must be three numbers with dots, such as 1.0.0", f.Version)
	wrong(slices.Contains([]disk.Format{"", "qcow2", "raw", "vhd"}, f.Format), "format: %q: must be qcow2, raw or vhd, or left out", f.Format)
	return errs
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" || u.Scheme == "file" && strings.HasPrefix(u.Path, "/")
}
