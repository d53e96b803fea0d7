package kql

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

func toDynamic(v Value) Value {
	if v.kind != KindString {
		return v
	}
	parsed, err := fastjson.Parse(v.s)
	if err != nil {
		return v // as Kusto does: a text that is no JSON is a text
	}
	return fromLive(parsed)
}

func typeName(v Value) Value {
	if v.kind == KindNull {
		return String("null")
	}
	if _, ok := v.items(); ok {
		return String("array")
	}
	if v.kind == KindDynamic {
		return String("dictionary")
	}
	return String(v.kind.String())
}

func runes(s string) int { return utf8.RuneCountInString(s) }

func strcat(e *env, a []Value) Value { return concat(e, "", a) }

func strcatDelim(e *env, a []Value) Value { return concat(e, a[0].Text(), a[1:]) }

func concat(e *env, delimiter string, a []Value) Value {
	var b strings.Builder
	for i, v := range a {
		if i > 0 {
			b.WriteString(delimiter)
		}
		b.WriteString(v.Text())
		if b.Len() > e.budget.Text {
			break // made refuses it
		}
	}
	return String(b.String())
}

func strcatArray(e *env, a []Value) Value {
	items, ok := a[0].items()
	if !ok {
		return String("")
	}
	return concat(e, a[1].Text(), items)
}

// split is an array of the parts, or with an index an array of that part.
func split(_ *env, a []Value) Value {
	var items []Value
	for part := range strings.SplitSeq(a[0].Text(), a[1].Text()) {
		items = append(items, String(part))
	}
	if len(a) == 3 {
		i, ok := position(step{index: int(toLong(a[2]).n)}, len(items))
		if !ok {
			return Null
		}
		items = items[i : i+1]
	}
	return list(items)
}

func substring(_ *env, a []Value) Value {
	s, start := a[0].Text(), int(toLong(a[1]).n)
	from := []rune(s)
	if start < 0 {
		start = max(len(from)+start, 0)
	}
	start = min(start, len(from))
	end := len(from)
	if len(a) == 3 {
		end = start + int(min(max(toLong(a[2]).n, 0), int64(len(from)-start)))
	}
	return String(string(from[start:end]))
}

// indexOf is where a text first occurs, in characters, or -1.
func indexOf(_ *env, a []Value) Value {
	s, from := a[0].Text(), 0
	if len(a) > 2 {
		from = int(min(max(toLong(a[2]).n, 0), int64(len(s))))
		for from < len(s) && !utf8.RuneStart(s[from]) {
			from++
		}
	}
	i := strings.Index(s[from:], a[1].Text())
	if i < 0 {
		return Long(-1)
	}
	return Long(int64(runes(s[:from+i])))
}

func replaceString(e *env, a []Value) Value {
	s, old, with := a[0].Text(), a[1].Text(), a[2].Text()
	if old == "" {
		return String(s)
	}
	if n := strings.Count(s, old); len(s)+n*(len(with)-len(old)) > e.budget.Text {
		e.fail(&Error{Code: CodeTooLarge, Message: "replace_string() would make a text that is too long"})
		return Null
	}
	return String(strings.ReplaceAll(s, old, with))
}

func countOf(_ *env, a []Value) Value {
	if a[1].Text() == "" {
		return Long(0)
	}
	return Long(int64(strings.Count(a[0].Text(), a[1].Text())))
}

func reversed(s string) Value {
	rs := []rune(s)
	for i, j := 0, len(rs)-1; i < j; i, j = i+1, j-1 {
		rs[i], rs[j] = rs[j], rs[i]
	}
	return String(string(rs))
}

func strrep(e *env, a []Value) Value {
	s, n := a[0].Text(), int(min(max(toLong(a[1]).n, 0), 1024))
	delimiter := ""
	if len(a) == 3 {
		delimiter = a[2].Text()
	}
	if (len(s)+len(delimiter))*n > e.budget.Text {
		e.fail(&Error{Code: CodeTooLarge, Message: "strrep() would make a text that is too long"})
		return Null
	}
	return String(strings.TrimSuffix(strings.Repeat(s+delimiter, n), delimiter))
}

func arrayLength(v Value) Value {
	items, ok := v.items()
	if !ok {
		return Null
	}
	return Long(int64(len(items)))
}

func arrayConcat(_ *env, a []Value) Value {
	var all []Value
	for _, v := range a {
		items, ok := v.items()
		if !ok && !v.IsNull() {
			return Null
		}
		all = append(all, items...)
	}
	return list(all)
}

func arrayIndexOf(_ *env, a []Value) Value {
	items, ok := a[0].items()
	if !ok {
		return Null
	}
	for i, item := range items {
		if same, _ := equal(item, a[1], false); same {
			return Long(int64(i))
		}
	}
	return Long(-1)
}

func hasElement(_ *env, a []Value) Value {
	items, ok := a[0].items()
	return Bool(ok && memberOf(a[1], items, false))
}

func arraySlice(_ *env, a []Value) Value {
	items, ok := a[0].items()
	if !ok {
		return Null
	}
	at := func(v Value) int {
		n := toLong(v).n
		if n < 0 {
			n += int64(len(items))
		}
		return int(min(max(n, -1), int64(len(items))))
	}
	start, end := max(at(a[1]), 0), min(at(a[2])+1, len(items))
	if start >= end {
		return list(nil)
	}
	return list(append([]Value{}, items[start:end]...))
}

func packArray(_ *env, a []Value) Value { return list(append([]Value{}, a...)) }

func bagKeys(v Value) Value {
	keys, ok := v.keys()
	if !ok {
		return Null
	}
	return list(keys)
}

func bagHasKey(_ *env, a []Value) Value {
	keys, _ := a[0].keys()
	return Bool(memberOf(a[1], keys, false))
}

// packBag is an object of names and values.
func packBag(e *env, a []Value) Value {
	b := []byte{'{'}
	for i := 0; i+1 < len(a); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, a[i].Text())
		b = append(b, ':')
		b = a[i+1].AppendJSON(b)
		if len(b) > e.budget.Text {
			break // made refuses it
		}
	}
	return Value{kind: KindDynamic, s: string(append(b, '}'))}
}

func absolute(v Value) Value {
	switch {
	case v.kind == KindReal:
		return Real(math.Abs(v.real()))
	case (v.kind == KindLong || v.kind == KindTimespan) && v.n < 0:
		return Value{kind: v.kind, n: -v.n}
	case v.kind == KindLong || v.kind == KindTimespan:
		return v
	}
	return Null
}

func round(_ *env, a []Value) Value {
	f, ok := a[0].number()
	if !ok {
		return Null
	}
	digits := 0.0
	if len(a) == 2 {
		digits, _ = a[1].number()
	}
	p := math.Pow(10, math.Trunc(min(max(digits, -15), 15)))
	return Real(math.Round(f*p) / p)
}

// bin rounds down to a multiple.
func bin(_ *env, a []Value) Value {
	v := a[0]
	if len(a) == 1 {
		f, ok := v.number()
		if !ok {
			return Null
		}
		return truncated(math.Floor(f))
	}
	if a[1].kind == KindTimespan && v.kind == KindString {
		v = toDatetime(v)
	}
	m := whole('%', v.n, a[1].n)
	switch {
	case (v.kind == KindLong || v.kind == KindTimespan) && v.kind == a[1].kind, v.kind == KindDatetime && a[1].kind == KindTimespan:
		if m.IsNull() {
			return Null
		}
		return Value{kind: v.kind, n: v.n - m.n}
	}
	x, ok1 := v.number()
	y, ok2 := a[1].number()
	if !ok1 || !ok2 || y == 0 || v.kind == KindDatetime {
		return Null
	}
	return Real(math.Floor(x/y) * y)
}

func ceiling(_ *env, a []Value) Value {
	f, ok := a[0].number()
	if !ok {
		return Null
	}
	return truncated(math.Ceil(f))
}

func minOf(_ *env, a []Value) Value { return extreme(a, -1) }
func maxOf(_ *env, a []Value) Value { return extreme(a, 1) }

func extreme(a []Value, sign int) Value {
	best := Null
	for _, v := range a {
		if !v.IsNull() && (best.IsNull() || total(v, best)*sign > 0) {
			best = v
		}
	}
	return best
}

func now(e *env, a []Value) Value {
	if len(a) == 1 {
		return arithmetic('+', Datetime(e.now), toTimespan(a[0]))
	}
	return Datetime(e.now)
}

func ago(e *env, a []Value) Value { return arithmetic('-', Datetime(e.now), toTimespan(a[0])) }

func startOfDay(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}
func startOfMonth(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}
func startOfYear(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) }

var periods = map[string]time.Duration{"week": 7 * 24 * time.Hour, "day": 24 * time.Hour, "hour": time.Hour, "minute": time.Minute, "second": time.Second, "millisecond": time.Millisecond, "microsecond": time.Microsecond}

// datetimeDiff counts the borders between two moments, as Kusto does.
func datetimeDiff(_ *env, a []Value) Value {
	x, y := toDatetime(a[1]), toDatetime(a[2])
	if x.IsNull() || y.IsNull() {
		return Null
	}
	s, t := x.time(), y.time()
	switch unit := strings.ToLower(a[0].Text()); unit {
	case "year":
		return Long(int64(s.Year() - t.Year()))
	case "quarter":
		return Long(int64((s.Year()*12+int(s.Month())-1)/3 - (t.Year()*12+int(t.Month())-1)/3))
	case "month":
		return Long(int64(s.Year()*12 + int(s.Month()) - t.Year()*12 - int(t.Month())))
	default:
		p, ok := periods[unit]
		if !ok {
			return Null
		}
		d := p.Microseconds()
		return Long((x.n-whole('%', x.n, d).n)/d - (y.n-whole('%', y.n, d).n)/d)
	}
}

func datetimeAdd(_ *env, a []Value) Value {
	t, n := toDatetime(a[2]), toLong(a[1])
	if t.IsNull() || n.IsNull() || n.n > math.MaxInt32 || n.n < math.MinInt32 {
		return Null
	}
	switch unit := strings.ToLower(a[0].Text()); unit {
	case "year":
		return moment(Long(t.time().AddDate(int(n.n), 0, 0).UnixMicro()))
	case "quarter":
		return moment(Long(t.time().AddDate(0, 3*int(n.n), 0).UnixMicro()))
	case "month":
		return moment(Long(t.time().AddDate(0, int(n.n), 0).UnixMicro()))
	default:
		return moment(Long(t.n + n.n*periods[unit].Microseconds()))
	}
}

// formatDatetime knows the letters that people use; anything else stays as it is.
func formatDatetime(_ *env, a []Value) Value {
	t := toDatetime(a[0])
	if t.IsNull() {
		return Null
	}
	layout := strings.NewReplacer("yyyy", "2006", "yy", "06", "MM", "01", "M", "1", "dd", "02", "d", "2", "HH", "15", "hh", "03", "h", "3",
		"mm", "04", "m", "4", "ss", "05", "s", "5", "tt", "PM", "fff", "000", "f", "0").Replace(a[1].Text())
	return String(t.time().Format(layout))
}
