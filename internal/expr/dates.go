package expr

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/expr/value"
)

var dateTable = []Function{
	{Name: "addDays", In: Policy, Min: 2, Max: 2, call: addDays},
	{Name: "dateTimeAdd", In: Policy | Deployment, Min: 2, Max: 3, call: dateTimeAdd},
	{Name: "dateTimeFromEpoch", In: Policy | Deployment, Min: 1, Max: 1, call: dateTimeFromEpoch},
	{Name: "dateTimeToEpoch", In: Policy | Deployment, Min: 1, Max: 1, call: dateTimeToEpoch},
}

// moment is a time with the number of decimals its text had.
type moment struct {
	time.Time
	decimals int
}

var datePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.(\d{1,9}))?)?([Zz]|[+-]\d\d:\d\d)?$`)

// parseDate reads RFC 3339, with a T or a space; without a zone it is UTC, and
// the time of day may be missing.
func parseDate(s string) (moment, error) {
	m := datePattern.FindStringSubmatch(s)
	if m == nil {
		return moment{}, fmt.Errorf("%q is not a date and time as RFC 3339 writes it", shorten(s))
	}
	normal := strings.ToUpper(s[:10] + "T" + strings.TrimLeft(s[10:], "Tt "))
	if len(s) < 19 {
		normal = s[:10] + "T00:00:00" + strings.ToUpper(s[10:])
	}
	if m[2] == "" {
		normal += "Z"
	}
	t, err := time.Parse(time.RFC3339Nano, normal)
	if err != nil {
		return moment{}, fmt.Errorf("%q is not a date and time: a part is out of range", shorten(s))
	}
	return moment{t, len(m[1])}, nil
}

// String writes RFC 3339 with as many decimals as were read.
func (m moment) String() string {
	layout := "2006-01-02T15:04:05"
	if m.decimals > 0 {
		layout += "." + strings.Repeat("0", m.decimals)
	}
	return m.Format(layout + "Z07:00")
}

func dateArgument(args []Value) (moment, error) {
	if args[0].Kind() != value.String {
		return moment{}, wrong(args, 0, "a date as text")
	}
	return parseDate(args[0].Str())
}

func addDays(args []Value) (Value, error) {
	m, err := dateArgument(args)
	if err != nil {
		return Value{}, err
	}
	if args[1].Kind() != value.Int {
		return Value{}, wrong(args, 1, "a whole number of days")
	}
	days := args[1].Int64()
	if days > 4_000_000 || days < -4_000_000 {
		return Value{}, errOutOfCalendar
	}
	m.Time = m.AddDate(0, 0, int(days))
	return m.checked()
}

var errOutOfCalendar = errors.New("the result is not between the years 1 and 9999")

func (m moment) checked() (Value, error) {
	if y := m.Year(); y < 1 || y > 9999 {
		return Value{}, errOutOfCalendar
	}
	return value.FromString(m.String()), nil
}

func dateTimeAdd(args []Value) (Value, error) {
	m, err := dateArgument(args)
	if err != nil {
		return Value{}, err
	}
	if args[1].Kind() != value.String {
		return Value{}, wrong(args, 1, "an ISO 8601 duration")
	}
	d, err := parseDuration(args[1].Str())
	if err != nil {
		return Value{}, err
	}
	m.Time = m.Add(d)
	if len(args) == 2 {
		return m.checked()
	}
	if args[2].Kind() != value.String {
		return Value{}, wrong(args, 2, "a date format")
	}
	if _, err := m.checked(); err != nil {
		return Value{}, err
	}
	s, err := FormatTime(m.Time, args[2].Str())
	if err != nil {
		return Value{}, err
	}
	return text(s)
}

var durationPattern = regexp.MustCompile(`^(-)?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseDuration reads ISO 8601; a year counts 365 days and a month 30.
func parseDuration(s string) (time.Duration, error) {
	m := durationPattern.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(s, "P") || strings.HasSuffix(s, "T") {
		return 0, fmt.Errorf("%q is not an ISO 8601 duration such as P1DT2H", shorten(s))
	}
	const day = 24 * 3600
	unitSeconds := []float64{365 * day, 30 * day, 7 * day, day, 3600, 60, 1}
	var seconds float64
	for i, unit := range unitSeconds {
		n, _ := strconv.ParseFloat(m[i+2], 64)
		seconds += n * unit
	}
	if seconds > math.MaxInt64/1e9 {
		return 0, errors.New("the duration is longer than 292 years")
	}
	d := time.Duration(math.Round(seconds * 1e9))
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

func dateTimeFromEpoch(args []Value) (Value, error) {
	if args[0].Kind() != value.Int {
		return Value{}, wrong(args, 0, "a whole number of seconds")
	}
	return moment{Time: time.Unix(args[0].Int64(), 0).UTC()}.checked()
}

func dateTimeToEpoch(args []Value) (Value, error) {
	m, err := dateArgument(args)
	return value.FromInt(m.Unix()), err
}

// standardFormats are the one-letter .NET formats in the invariant culture.
var standardFormats = map[string]string{
	"d": "MM/dd/yyyy", "D": "dddd, dd MMMM yyyy", "f": "dddd, dd MMMM yyyy HH:mm", "F": "dddd, dd MMMM yyyy HH:mm:ss",
	"g": "MM/dd/yyyy HH:mm", "G": "MM/dd/yyyy HH:mm:ss", "m": "MMMM dd", "M": "MMMM dd",
	"o": "yyyy-MM-ddTHH:mm:ss.fffffffK", "O": "yyyy-MM-ddTHH:mm:ss.fffffffK",
	"r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "s": "yyyy-MM-ddTHH:mm:ss",
	"t": "HH:mm", "T": "HH:mm:ss", "u": "yyyy-MM-dd HH:mm:ss'Z'", "U": "dddd, dd MMMM yyyy HH:mm:ss",
	"y": "yyyy MMMM", "Y": "yyyy MMMM",
}

// FormatTime writes a time in a .NET standard or custom format, invariant
// culture, as utcNow and dateTimeAdd do.
func FormatTime(t time.Time, layout string) (string, error) {
	if len(layout) == 1 {
		standard, ok := standardFormats[layout]
		if !ok {
			return "", fmt.Errorf("unknown date format %q", layout)
		}
		if strings.Contains("rRuU", layout) {
			t = t.UTC()
		}
		layout = standard
	}
	layout = strings.TrimPrefix(layout, "%")
	var b strings.Builder
	for i := 0; i < len(layout); {
		n, err := formatRun(&b, t, layout[i:])
		if err != nil {
			return "", err
		}
		i += n
	}
	return b.String(), nil
}

// formatRun writes the specifier, quoted text or character that rest starts with
// and returns its length.
func formatRun(b *strings.Builder, t time.Time, rest string) (int, error) {
	c := rest[0]
	switch c {
	case '\'', '"':
		end := strings.IndexByte(rest[1:], c)
		if end < 0 {
			return 0, errors.New("a quote in the date format is never closed")
		}
		b.WriteString(rest[1 : end+1])
		return end + 2, nil
	case '\\':
		if len(rest) < 2 {
			return 0, errors.New("the date format ends with a backslash")
		}
		b.WriteByte(rest[1])
		return 2, nil
	}
	n := 1
	for n < len(rest) && rest[n] == c {
		n++
	}
	if strings.IndexByte("dfFghHKmMstyz", c) < 0 {
		b.WriteString(rest[:n])
		return n, nil
	}
	b.WriteString(dateField(t, c, n))
	return n, nil
}

func dateField(t time.Time, c byte, n int) string {
	switch c {
	case 'y':
		return yearField(t.Year(), n)
	case 'M':
		return namedField(int(t.Month()), n, t.Month().String())
	case 'd':
		return namedField(t.Day(), n, t.Weekday().String())
	case 'H':
		return padded(t.Hour(), n)
	case 'h':
		return padded((t.Hour()+11)%12+1, n)
	case 'm':
		return padded(t.Minute(), n)
	case 's':
		return padded(t.Second(), n)
	case 'f':
		return fmt.Sprintf("%09d", t.Nanosecond())[:min(n, 7)]
	case 'F':
		return strings.TrimRight(fmt.Sprintf("%09d", t.Nanosecond())[:min(n, 7)], "0")
	case 't':
		return t.Format("PM")[:min(n, 2)]
	case 'g':
		return "A.D."
	case 'K':
		return strings.Repeat(t.Format("Z07:00"), n)
	}
	return zoneField(t, n)
}

func yearField(year, n int) string {
	if n <= 2 {
		return padded(year%100, n)
	}
	return fmt.Sprintf("%0*d", n, year)
}

// namedField is a number for one or two letters, a short name for three, the
// whole name for more.
func namedField(number, n int, name string) string {
	switch {
	case n < 3:
		return padded(number, n)
	case n == 3:
		return name[:3]
	}
	return name
}

func padded(number, n int) string { return fmt.Sprintf("%0*d", min(n, 2), number) }

func zoneField(t time.Time, n int) string {
	_, offset := t.Zone()
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	s := fmt.Sprintf("%c%0*d", sign, min(n, 2), offset/3600)
	if n >= 3 {
		s += fmt.Sprintf(":%02d", offset%3600/60)
	}
	return s
}
