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

// parseDate reads RFC 3339, with a T or a space; without a zone it is UTC, and
// the time of day may be missing.
func parseDate(s string) (moment, error) {
	bad := func() (moment, error) {
		return moment{}, fmt.Errorf("%q is not a date and time as RFC 3339 writes it", shorten(s))
	}
	year, month, day, ok := datePart(s)
	if !ok {
		return bad()
	}
	rest := s[10:]
	var hour, minute, second, nanos, decimals int
	if rest != "" && strings.IndexByte("Tt ", rest[0]) >= 0 {
		if hour, minute, second, ok = clockPart(rest[1:]); !ok {
			return bad()
		}
		if nanos, decimals, rest, ok = fractionPart(rest[9:]); !ok {
			return bad()
		}
	}
	zone, ok := zonePart(rest)
	if !ok || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return bad()
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, zone)
	if t.Day() != day {
		return bad()
	}
	return moment{t, decimals}, nil
}

func datePart(s string) (year, month, day int, ok bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return 0, 0, 0, false
	}
	year, ok1 := digits(s[:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:10])
	return year, month, day, ok1 && ok2 && ok3
}

func clockPart(s string) (hour, minute, second int, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, 0, 0, false
	}
	hour, ok1 := digits(s[:2])
	minute, ok2 := digits(s[3:5])
	second, ok3 := digits(s[6:8])
	return hour, minute, second, ok1 && ok2 && ok3
}

// fractionPart reads up to nine decimals of a second.
func fractionPart(s string) (nanos, decimals int, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, 0, s, true
	}
	n := 1
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	nanos, ok = digits(s[1:n])
	for i := n - 1; i < 9; i++ {
		nanos *= 10
	}
	return nanos, n - 1, s[n:], ok && n > 1 && n <= 10
}

func zonePart(s string) (*time.Location, bool) {
	if s == "" || s == "Z" || s == "z" {
		return time.UTC, true
	}
	if len(s) != 6 || s[3] != ':' || s[0] != '+' && s[0] != '-' {
		return nil, false
	}
	hours, ok1 := digits(s[1:3])
	minutes, ok2 := digits(s[4:6])
	offset := hours*3600 + minutes*60
	if s[0] == '-' {
		offset = -offset
	}
	if offset == 0 {
		return time.UTC, ok1 && ok2
	}
	return time.FixedZone("", offset), ok1 && ok2 && hours < 24 && minutes < 60
}

func digits(s string) (int, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, len(s) <= 9
}

// String writes RFC 3339 with as many decimals as were read.
func (m moment) String() string {
	if m.decimals == 0 && m.Location() == time.UTC && m.Year() > 0 && m.Year() <= 9999 {
		return m.plain()
	}
	layout := "2006-01-02T15:04:05"
	if m.decimals > 0 {
		layout += "." + strings.Repeat("0", m.decimals)
	}
	return m.Format(layout + "Z07:00")
}

// plain is String for the usual case of UTC and whole seconds.
func (m moment) plain() string {
	year, month, day := m.Date()
	hour, minute, second := m.Clock()
	b := [20]byte{byte('0' + year/1000), byte('0' + year/100%10), byte('0' + year/10%10), byte('0' + year%10), '-', 0, 0, '-', 0, 0, 'T', 0, 0, ':', 0, 0, ':', 0, 0, 'Z'}
	for i, n := range [...]int{int(month), day, hour, minute, second} {
		at := [...]int{5, 8, 11, 14, 17}[i]
		b[at], b[at+1] = byte('0'+n/10), byte('0'+n%10)
	}
	return string(b[:])
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
	d, err := ParseDuration(args[1].Str())
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

// ParseDuration reads an ISO 8601 duration; a year counts 365 days and a month 30.
func ParseDuration(s string) (time.Duration, error) {
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
