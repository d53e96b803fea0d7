package image

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *checker) required(at, value string) bool {
	if value == "" {
		c.fail(at, "this is missing", "")
	}
	return value != ""
}

// enum accepts an absent value: what has to be there is checked by required.
func (c *checker) enum(at, value string, valid []string) bool {
	if value == "" || slices.Contains(valid, value) {
		return true
	}
	c.fail(at, quote(value)+" is not valid here", suggest(value, valid))
	return false
}

func (c *checker) pattern(at, value string, pattern *regexp.Regexp, hint string) {
	switch {
	case value == "":
		c.fail(at, "this is missing", hint)
	case !pattern.MatchString(value):
		c.fail(at, quote(value)+" is not valid here", hint)
	}
}

func (c *checker) between(at string, value, low, high int) {
	if value < low || value > high {
		c.fail(at, fmt.Sprintf("%d is not between %d and %d", value, low, high), "")
	}
}

func (c *checker) digest(at, value string) {
	c.pattern(at, value, digestPattern, "a SHA-256 digest has 64 hexadecimal digits; sha256sum prints it")
}

func (c *checker) mode(at, value string) {
	if value != "" && !modePattern.MatchString(value) {
		c.fail(at, quote(value)+" is not a file mode", `octal digits, such as "0644"`)
	}
}

func (c *checker) owner(at, value string) {
	if value != "" && !ownerPattern.MatchString(value) {
		c.fail(at, quote(value)+" is not an owner", "user or user:group")
	}
}

func (c *checker) region(at, value string) {
	c.pattern(at, value, regionPattern, "a region's name, such as westeurope")
}

func (c *checker) version(at, value string) {
	if _, err := ParseVersion(value); err != nil {
		c.fail(at, err.Error(), "")
	}
}

func (c *checker) versioning(at string, v *Versioning) {
	if v == nil {
		return
	}
	c.enum(at+".scheme", v.Scheme, schemes)
	if v.Major != nil {
		c.between(at+".major", *v.Major, 0, 1<<31-1)
		if v.Scheme == "Source" {
			c.fail(at+".major", "major belongs to the scheme Latest", "remove it")
		}
	}
}

func (c *checker) date(at, value string) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if _, err := time.Parse(layout, value); err == nil {
			return
		}
	}
	c.fail(at, quote(value)+" is not a date", "2027-12-31 or 2027-12-31T00:00:00Z")
}

// tags holds Azure's limits for tags.
func (c *checker) tags(at string, tags map[string]string) {
	if len(tags) > 50 {
		c.fail(at, "a resource has at most 50 tags", "")
	}
	for _, key := range sortedKeys(tags) {
		if key == "" || len(key) > 512 || strings.ContainsAny(key, "<>%&\\?/\x00") {
			c.fail(join(at, key), "this cannot be a tag's name", `at most 512 characters, none of <>%&\?/`)
		}
		if len(tags[key]) > 256 {
			c.fail(join(at, key), "a tag's value has at most 256 characters", "")
		}
	}
}

func (c *checker) resourceID(at, value, part string) {
	switch {
	case value == "":
		c.fail(at, "this is missing", "a resource id with "+part)
	case !resourcePattern.MatchString(value) || !strings.Contains(strings.ToLower(value), strings.ToLower(part)):
		c.fail(at, quote(value)+" is not such a resource's id", "/subscriptions/…/resourceGroups/…/providers/… with "+part)
	}
}

// guestPath refuses paths that would leave the image or that only exist while
// it runs.
func (c *checker) guestPath(at, value string) {
	c.noNUL(at, value)
	if !path.IsAbs(value) || path.Clean(value) != value || value == "/" {
		c.fail(at, quote(value)+" is not an absolute, clean path", "such as /etc/motd, without .. and without a slash at the end")
		return
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run"} {
		if value == dir || strings.HasPrefix(value, dir+"/") {
			c.fail(at, quote(value)+" does not survive a boot", "choose a place outside "+dir)
		}
	}
}

// input is a file that a step needs: beside the recipe, or remote.
func (c *checker) input(at, value, checksum string) {
	if !strings.Contains(value, "://") {
		c.localPath(at, value)
		return
	}
	c.remote(at, value)
	if strings.HasPrefix(value, "http://") && checksum == "" {
		c.fail(at, "anybody on the way can change what http:// delivers", "use https://, or add sha256Checksum")
	}
}

func (c *checker) localPath(at, value string) {
	c.noNUL(at, value)
	if !localPath(value) {
		c.fail(at, quote(value)+" leaves the recipe's folder", "name a file beside the recipe, such as files/motd")
	}
}

func localPath(value string) bool {
	return value != "" && !path.IsAbs(value) && !strings.Contains(value, `\`) && path.Clean(value) == strings.TrimPrefix(value, "./") && value != "." && value != ".." && !strings.HasPrefix(value, "../")
}

func (c *checker) remote(at, value string) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		c.fail(at, quote(value)+" is not an http or https address", "")
		return
	}
	if u.User != nil {
		c.fail(at, "the address holds credentials, which would be visible in the recipe", "use a secret")
	}
}

func (c *checker) noNUL(at, value string) {
	if strings.ContainsRune(value, 0) {
		c.fail(at, "there is a NUL byte in this", "")
	}
}

func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strconv.Quote(s)
}

func itoa(i int) string { return strconv.Itoa(i) }
