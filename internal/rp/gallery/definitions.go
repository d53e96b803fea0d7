package gallery

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type definitionBody struct {
	Properties struct {
		OSType, OSState, HyperVGeneration, Architecture string

		Identifier    struct{ Publisher, Offer, SKU string }
		EndOfLifeDate string
		Recommended   struct {
			VCPUs, Memory struct{ Min, Max *int }
		}
		Disallowed       struct{ DiskTypes []string }
		Features         []struct{ Name, Value string }
		AllowUpdateImage bool
	}
}

// fixed is what a definition keeps for life (Azure: only description, end of life,
// recommendations, release notes and tags may change), in ARM's spelling.
var fixed = []string{
	"properties.osType", "properties.osState", "properties.hyperVGeneration", "properties.architecture",
	"properties.identifier.publisher", "properties.identifier.offer", "properties.identifier.sku",
	"properties.purchasePlan", "properties.features",
}

// defaultDefinition fills in what Azure fills in; an update that leaves out what
// cannot change means the stored value.
func defaultDefinition(w *provider.Write) error {
	if w.Old != nil {
		return inherit(w, fixed)
	}
	generation := "V1"
	if w.APIVersion >= "2025-03-03" { // from then on Azure's default is V2
		generation = "V2"
	}
	return setMissing(w, "properties.hyperVGeneration", generation, "properties.architecture", "x64")
}

// setMissing takes pairs of path and value.
func setMissing(w *provider.Write, pairs ...any) (err error) {
	for i := 0; i < len(pairs) && err == nil; i += 2 {
		path := pairs[i].(string)
		if _, there := arm.Get(w.Doc.Body, path); !there {
			w.Doc.Body, err = arm.Set(w.Doc.Body, path, pairs[i+1])
		}
	}
	return err
}

func inherit(w *provider.Write, paths []string) error {
	for _, path := range paths {
		if v, ok := arm.Get(w.Old.Body, path); ok {
			if err := setMissing(w, path, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func validateDefinition(w *provider.Write) []*arm.Error {
	var b definitionBody
	if errs := decode(w.Doc.Body, &b); errs != nil {
		return errs
	}
	p := b.Properties
	errs := oneOf(nil, "properties.osType", p.OSType, true, "Linux", "Windows")
	errs = oneOf(errs, "properties.osState", p.OSState, true, "Generalized", "Specialized")
	errs = oneOf(errs, "properties.hyperVGeneration", p.HyperVGeneration, true, "V1", "V2")
	errs = oneOf(errs, "properties.architecture", p.Architecture, true, "x64", "Arm64")
	errs = identifier(errs, "publisher", p.Identifier.Publisher, 128)
	errs = identifier(errs, "offer", p.Identifier.Offer, 64)
	errs = identifier(errs, "sku", p.Identifier.SKU, 64)
	errs = between(errs, "vCPUs", p.Recommended.VCPUs.Min, p.Recommended.VCPUs.Max)
	errs = between(errs, "memory", p.Recommended.Memory.Min, p.Recommended.Memory.Max)
	errs = append(errs, endOfLife(w, "properties.endOfLifeDate")...)
	if w.Old != nil {
		errs = append(errs, changed(w, "galleryImage", mayChangeFeatures(p.AllowUpdateImage))...)
	}
	return errs
}

// mayChangeFeatures: allowUpdateImage is Azure's word for "yes, the features too".
func mayChangeFeatures(allowed bool) []string {
	if allowed {
		return fixed[:len(fixed)-1]
	}
	return fixed
}

func oneOf(errs []*arm.Error, path, value string, required bool, allowed ...string) []*arm.Error {
	if value == "" && !required {
		return errs
	}
	for _, a := range allowed {
		if strings.EqualFold(a, value) {
			return errs
		}
	}
	if value == "" {
		return append(errs, arm.BadRequest(arm.CodeInvalidParameter, path, "Required parameter '%s' is missing (null). It is one of %s.", path, strings.Join(allowed, ", ")))
	}
	return append(errs, arm.BadRequest(arm.CodeInvalidParameter, path, "The value '%s' of parameter '%s' is invalid. It is one of %s.", value, path, strings.Join(allowed, ", ")))
}

var assetName = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z0-9_-]$`)

func identifier(errs []*arm.Error, name, value string, most int) []*arm.Error {
	if assetName.MatchString(value) && len(value) <= most {
		return errs
	}
	return append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.identifier."+name,
		"Asset name galleryImage.properties.identifier.%s is not valid. It cannot be empty. Allowed characters are uppercase or lowercase letters, digits, hyphen(-), period (.), underscore (_). Names are not allowed to end with period(.). The length of the name cannot exceed %d characters.", name, most))
}

func between(errs []*arm.Error, name string, least, most *int) []*arm.Error {
	path := "properties.recommended." + name
	for _, v := range []*int{least, most} {
		if v != nil && *v < 1 {
			errs = append(errs, outOfRange(path, *v, 1, 1<<31-1))
		}
	}
	if least != nil && most != nil && *least > *most {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, path,
			"The minimum value of %s (%d) must not be greater than the maximum value of %s (%d).", path, *least, path, *most))
	}
	return errs
}

func outOfRange(path string, value, least, most int) *arm.Error {
	return arm.BadRequest(arm.CodeInvalidParameter, path,
		"The value '%d' of parameter '%s' is out of range. The value must be between '%d' and '%d', inclusive.", value, path, least, most)
}

// endOfLife checks the date, which has to lie ahead when it is set; one that has
// passed since then stays valid, so that other properties can still be changed.
func endOfLife(w *provider.Write, path string) []*arm.Error {
	text := arm.GetString(w.Doc.Body, path)
	if text == "" || (w.Old != nil && arm.GetString(w.Old.Body, path) == text) {
		return nil
	}
	date, err := parseDate(text)
	switch {
	case err != nil:
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, path,
			"Could not convert string to DateTimeOffset: %.60q. Path '%s'. Write it as 2027-01-31 or 2027-01-31T00:00:00Z.", text, path)}
	case !date.After(w.Now):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, path, "EndOfLifeDate must be set to a future date; '%s' has passed.", text)}
	}
	return nil
}

func parseDate(text string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateOnly} {
		if t, err = time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return t, err
}

// changed reports the fixed properties that an update would change.
func changed(w *provider.Write, kind string, paths []string) (errs []*arm.Error) {
	for _, path := range paths {
		was, hadIt := arm.Get(w.Old.Body, path)
		is, hasIt := arm.Get(w.Doc.Body, path)
		if hadIt == hasIt && (!hadIt || same(was, is)) {
			continue
		}
		errs = append(errs, arm.Conflict(arm.CodePropertyChangeNotAllowed, path, "Changing property '%s.%s' is not allowed. Create a new one instead.", kind, path))
	}
	return errs
}

// same compares JSON values; strings (names, ids, enums) without regard to case.
func same(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return bytes.Equal(a, b)
	}
	p, _ := json.Marshal(x) // writes properties in the order of their names
	q, _ := json.Marshal(y)
	return strings.EqualFold(string(p), string(q))
}

// commitDefinition keeps publisher, offer and sku unique in a gallery, and counts.
func commitDefinition(tx store.Tx, w *provider.Write) error {
	if !w.Create() {
		return nil
	}
	siblings, err := tx.List(store.Query{Type: TypeDefinition, Prefix: w.ID.Parent().Key() + "/images/"})
	if err != nil {
		return err
	}
	for _, d := range siblings {
		if w.ID.Equal(d.ARMID()) {
			continue
		}
		was, _ := arm.Get(d.Body, "properties.identifier")
		if is, _ := arm.Get(w.Doc.Body, "properties.identifier"); same(was, is) {
			return arm.Conflict(arm.CodeConflict, "properties.identifier",
				"Gallery image: %s identified by %s already exists. Choose a different publisher, offer, sku combination.", d.ARMID().Name(), was)
		}
	}
	have, err := countAt(tx, w, maxDefinitions)
	if err != nil {
		return err
	}
	return withinQuota(have, maxDefinitions, "image definitions", w)
}
