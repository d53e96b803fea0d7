package insights

import (
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
)

// filter is what a client asks of the log.
type filter struct {
	from, to time.Time         // zero: no bound
	equal    map[string]string // of known names in lower case
}

// condition is one "name op value" of a $filter, and whether more follows.
var condition = regexp.MustCompile(`(?i)^\s*([a-z/]+)\s+(eq|ge|gt|le|lt)\s+('(?:[^']|'')*'|"[^"]*"|[^\s']+)\s*(and\s|$)`)

// known are the names that can be asked for with eq.
var known = map[string]bool{"resourcegroupname": true, "resourceuri": true, "resourceid": true, "resourceprovider": true, "correlationid": true,
	"caller": true, "status": true, "resourcetype": true, "eventchannels": true, "category": true, "operationname": true}

func readFilter(text string) (filter, error) {
	f := filter{equal: map[string]string{}}
	for rest := strings.TrimSpace(text); rest != ""; {
		m := condition.FindStringSubmatch(rest)
		if m == nil {
			return f, bad("after %q something else than name, eq/ge/le and a value is written", clip(text[:len(text)-len(rest)]))
		}
		rest = rest[len(m[0]):]
		if err := f.add(strings.ToLower(m[1]), strings.ToLower(m[2]), unquoted(m[3])); err != nil {
			return f, err
		}
		if rest == "" && m[4] != "" {
			return f, bad("nothing follows the last 'and'")
		}
	}
	return f, nil
}

func (f *filter) add(name, op, value string) error {
	if name == "eventtimestamp" {
		t, ok := moment(value)
		if !ok {
			return bad("eventTimestamp is compared with %q, which is no time such as 2026-05-01T00:00:00Z", clip(value))
		}
		switch op {
		case "ge", "gt":
			f.from = t
		case "le", "lt":
			f.to = t
		default:
			f.from, f.to = t, t
		}
		return nil
	}
	if !known[name] || op != "eq" {
		return bad("'%s %s' is not supported: eventTimestamp has ge and le; resourceGroupName, resourceUri, resourceProvider, resourceType, correlationId, caller, status, category and operationName have eq", clip(name), op)
	}
	f.equal[name] = value
	return nil
}

func bad(format string, args ...any) error {
	return arm.BadRequest("BadRequest", "$filter", "The $filter cannot be read: "+format+".", args...)
}

func unquoted(s string) string {
	if len(s) > 1 && (s[0] == '\'' || s[0] == '"') {
		return strings.ReplaceAll(s[1:len(s)-1], "''", "'")
	}
	return s
}

func moment(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

// covers reports whether a time is asked for.
func (f filter) covers(t time.Time) bool {
	return (f.from.IsZero() || !t.Before(f.from)) && (f.to.IsZero() || !t.After(f.to))
}

// keeps reports whether an entry is asked for.
func (f filter) keeps(e *entry) bool {
	if !f.covers(e.time) {
		return false
	}
	for name, want := range f.equal {
		if !e.is(name, want) {
			return false
		}
	}
	return true
}

func (e *entry) is(name, want string) bool {
	switch name {
	case "resourcegroupname":
		return strings.EqualFold(e.id.ResourceGroup(), want)
	case "resourceuri", "resourceid":
		return strings.EqualFold(e.id.String(), strings.TrimSuffix(want, "/"))
	case "resourceprovider":
		return strings.EqualFold(e.id.Type().Namespace(), want)
	case "resourcetype":
		return strings.EqualFold(string(e.id.Type()), want)
	case "correlationid":
		return strings.EqualFold(e.correlation, want)
	case "caller":
		return strings.EqualFold(e.principal, want) || strings.EqualFold(e.caller(), want) || strings.EqualFold(e.name, want)
	case "status":
		return strings.EqualFold(e.status, want)
	case "category":
		return strings.EqualFold(e.category, want)
	case "operationname":
		return strings.EqualFold(e.action, want)
	}
	return true // eventChannels: all that we have go through the same
}
