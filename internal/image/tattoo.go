package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Where the tattoo and its signature are in an image.
const (
	TattooPath          = "/etc/hallmark/tattoo"
	TattooSignaturePath = "/etc/hallmark/tattoo.sig"
	TattooRegistryKey   = `HKEY_LOCAL_MACHINE\SOFTWARE\Hallmark\Image`
)

// Facts are what a tattoo says. Times are RFC 3339 in UTC.
type Facts struct {
	SourcePublisher, SourceOffer, SourceSKU string
	SourceVersion, SourceDigest             string
	OSID, OSVersion                         string
	ImageGalleryID, ImageDefinition         string
	ImageVersion                            string
	RecipeDigest, GitCommit, RunID          string
	BuildDate, PublishDate                  string
	Custom                                  map[string]string
}

// TattooKeys are Hallmark's own keys, in the order in which they are written.
func TattooKeys() []string {
	return []string{
		"SOURCE_PUBLISHER", "SOURCE_OFFER", "SOURCE_SKU", "SOURCE_VERSION", "SOURCE_DIGEST", "OS_ID", "OS_VERSION",
		"IMAGE_GALLERY_ID", "IMAGE_DEFINITION", "IMAGE_VERSION", "RECIPE_DIGEST", "GIT_COMMIT", "RUN_ID", "BUILD_DATE", "PUBLISH_DATE",
	}
}

// fields are the facts in the order of TattooKeys.
func (f *Facts) fields() []*string {
	return []*string{
		&f.SourcePublisher, &f.SourceOffer, &f.SourceSKU, &f.SourceVersion, &f.SourceDigest, &f.OSID, &f.OSVersion,
		&f.ImageGalleryID, &f.ImageDefinition, &f.ImageVersion, &f.RecipeDigest, &f.GitCommit, &f.RunID, &f.BuildDate, &f.PublishDate,
	}
}

// Bounds that keep a hostile tattoo from costing anything.
const (
	maxTattooBytes = 64 << 10
	maxTattooKeys  = 200
	maxTattooValue = 1024
)

// ErrTattoo is wrapped by every error about a tattoo.
var ErrTattoo = errors.New("not a valid tattoo")

var tattooKey = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

func checkCustomKey(key string) error {
	if !tattooKey.MatchString(key) {
		return fmt.Errorf("%s cannot be a tattoo's key: capital letters, digits and _", quote(key))
	}
	if slices.Contains(TattooKeys(), key) {
		return fmt.Errorf("%s is written by Hallmark itself: choose another key", key)
	}
	return nil
}

// checkTattooValue refuses what cannot be one line of text everywhere.
func checkTattooValue(value string) error {
	if len(value) > maxTattooValue {
		return fmt.Errorf("a tattoo's value has at most %d bytes", maxTattooValue)
	}
	if !utf8.ValidString(value) {
		return errors.New("a tattoo's value is UTF-8 text")
	}
	for _, r := range value {
		if r < ' ' || r == 0x7f {
			return errors.New("a tattoo's value is one line without control characters")
		}
	}
	return nil
}

// Tattoo renders the facts as the file's content: one KEY=value a line, our
// keys first and always all of them, then custom keys in alphabetical order. A
// shell can source it; systemd's EnvironmentFile= and os-release readers can
// read it.
func Tattoo(f Facts) ([]byte, error) {
	var b strings.Builder
	write := func(key, value string) error {
		if err := checkTattooValue(value); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrTattoo, key, err)
		}
		b.WriteString(key + "=" + shellQuote(value) + "\n")
		return nil
	}
	values := f.fields()
	for i, key := range TattooKeys() {
		if err := write(key, *values[i]); err != nil {
			return nil, err
		}
	}
	for _, key := range sortedKeys(f.Custom) {
		if err := checkCustomKey(key); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTattoo, err)
		}
		if err := write(key, f.Custom[key]); err != nil {
			return nil, err
		}
	}
	if b.Len() > maxTattooBytes || len(f.Custom)+len(values) > maxTattooKeys {
		return nil, fmt.Errorf("%w: it has more than %d bytes or %d keys", ErrTattoo, maxTattooBytes, maxTattooKeys)
	}
	return []byte(b.String()), nil
}

var plainValue = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]*$`)

// shellQuote leaves plain words bare and puts everything else into single
// quotes, in which a POSIX shell expands nothing.
func shellQuote(value string) string {
	if plainValue.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// ParseTattoo reads what [Tattoo] wrote, and nothing else: unknown syntax,
// repeated keys and missing keys are errors, because a tattoo is evidence.
func ParseTattoo(data []byte) (Facts, error) {
	if len(data) > maxTattooBytes {
		return Facts{}, fmt.Errorf("%w: it has %d bytes; %d are allowed", ErrTattoo, len(data), maxTattooBytes)
	}
	values := map[string]string{}
	text, ended := strings.CutSuffix(string(data), "\n")
	if !ended {
		return Facts{}, fmt.Errorf("%w: the last line is incomplete", ErrTattoo)
	}
	for number, line := range strings.Split(text, "\n") {
		key, value, err := parseTattooLine(line)
		if err != nil {
			return Facts{}, fmt.Errorf("%w: line %d: %w", ErrTattoo, number+1, err)
		}
		if _, ok := values[key]; ok {
			return Facts{}, fmt.Errorf("%w: line %d: %s is there twice", ErrTattoo, number+1, key)
		}
		values[key] = value
	}
	return factsOf(values)
}

func parseTattooLine(line string) (key, value string, err error) {
	key, quoted, ok := strings.Cut(line, "=")
	if !ok || !tattooKey.MatchString(key) {
		return "", "", errors.New("a line is KEY=value")
	}
	value = quoted
	if strings.HasPrefix(quoted, "'") {
		value = strings.ReplaceAll(quoted, `'\''`, "\x00")
		if len(value) < 2 || !strings.HasSuffix(value, "'") {
			return "", "", errors.New("a quote is not closed")
		}
		value = strings.ReplaceAll(value[1:len(value)-1], "\x00", "'")
	}
	if err := checkTattooValue(value); err != nil {
		return "", "", err
	}
	if shellQuote(value) != quoted {
		return "", "", errors.New("the value is not quoted as Hallmark quotes it")
	}
	return key, value, nil
}

func factsOf(values map[string]string) (Facts, error) {
	var f Facts
	fields := f.fields()
	for i, key := range TattooKeys() {
		value, ok := values[key]
		if !ok {
			return Facts{}, fmt.Errorf("%w: %s is missing", ErrTattoo, key)
		}
		*fields[i] = value
		delete(values, key)
	}
	if len(values) > maxTattooKeys {
		return Facts{}, fmt.Errorf("%w: it has more than %d keys", ErrTattoo, maxTattooKeys)
	}
	if len(values) > 0 {
		f.Custom = values
	}
	return f, nil
}

// Values are all facts by key, for showing and for policy.
func (f Facts) Values() map[string]string {
	values := maps.Clone(f.Custom)
	if values == nil {
		values = map[string]string{}
	}
	fields := f.fields()
	for i, key := range TattooKeys() {
		values[key] = *fields[i]
	}
	return values
}

// TattooJSON renders the same facts as one JSON object, for agents on any
// operating system.
func TattooJSON(f Facts) ([]byte, error) {
	data, err := json.MarshalIndent(f.Values(), "", "  ")
	return append(data, '\n'), err
}

// TattooRegistry renders the same facts as a .reg file for Windows: string
// values under HKLM\SOFTWARE\Hallmark\Image.
func TattooRegistry(f Facts) ([]byte, error) {
	if _, err := Tattoo(f); err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("Windows Registry Editor Version 5.00\r\n\r\n[" + TattooRegistryKey + "]\r\n")
	values := f.Values()
	keys := append(TattooKeys(), sortedKeys(f.Custom)...)
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for _, key := range keys {
		b.WriteString(`"` + key + `"="` + escape.Replace(values[key]) + "\"\r\n")
	}
	return []byte(b.String()), nil
}
