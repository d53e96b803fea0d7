package kql

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"
)

// Kind is the type of a value.
type Kind uint8

// The kinds. A Dynamic value is a JSON array or object; scalars that come out of
// JSON are of the kind that they are.
const (
	KindNull Kind = iota
	KindBool
	KindLong
	KindReal
	KindString
	KindDatetime
	KindTimespan
	KindDynamic
)

var kindNames = [...]string{"dynamic", "bool", "long", "real", "string", "datetime", "timespan", "dynamic"}

func (k Kind) String() string { return kindNames[k] }

// Value is one value. The zero Value is null.
type Value struct {
	kind Kind
	n    int64  // bool, long, bits of a real, ticks since 1970 or long
	s    string // string, or the JSON text of a kept dynamic
	live *fastjson.Value
	list []Value // of a dynamic array that a function made
}

// Null is the value that is none.
var Null = Value{}

// Bool, Long, Real, String, Datetime and Timespan make values.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, n: 1}
	}
	return Value{kind: KindBool}
}

// Long is a whole number.
func Long(n int64) Value { return Value{kind: KindLong, n: n} }

// Real is a floating-point number.
func Real(f float64) Value { return Value{kind: KindReal, n: int64(math.Float64bits(f))} }

// String is a text.
func String(s string) Value { return Value{kind: KindString, s: s} }

// Datetime is a moment, to the microsecond.
func Datetime(t time.Time) Value { return Value{kind: KindDatetime, n: t.UnixMicro()} }

// Timespan is a span of time, to the microsecond.
func Timespan(d time.Duration) Value { return Value{kind: KindTimespan, n: d.Microseconds()} }

// JSON is a dynamic value of a JSON text that is known to be well-formed.
func JSON(text string) Value { return fromText(text) }

func fromText(text string) Value {
	v, err := fastjson.Parse(text)
	if err != nil {
		return Null
	}
	got := fromLive(v)
	if got.kind == KindDynamic {
		return Value{kind: KindDynamic, s: text}
	}
	return got.Keep()
}

// list is a dynamic array. What is dynamic in it becomes text: that keeps lists of
// lists from growing without anybody noticing.
func list(items []Value) Value {
	for i, item := range items {
		if item.kind == KindDynamic && (item.live != nil || item.list != nil || item.s == "") {
			items[i] = Value{kind: KindDynamic, s: string(item.AppendJSON(nil))}
		}
	}
	return Value{kind: KindDynamic, list: items}
}

// fromLive is a value that shares memory with a parsed document, and dies with it.
func fromLive(v *fastjson.Value) Value {
	if v == nil {
		return Null
	}
	switch v.Type() {
	case fastjson.TypeString:
		return String(unsafeText(v))
	case fastjson.TypeNumber:
		if n, err := v.Int64(); err == nil {
			return Long(n)
		}
		f, err := v.Float64()
		if err != nil {
			return Null
		}
		return Real(f)
	case fastjson.TypeTrue:
		return Bool(true)
	case fastjson.TypeFalse:
		return Bool(false)
	case fastjson.TypeNull:
		return Null
	}
	return Value{kind: KindDynamic, live: v}
}

// Kind is the value's type.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether there is no value.
func (v Value) IsNull() bool { return v.kind == KindNull }

func (v Value) real() float64 { return math.Float64frombits(uint64(v.n)) }

func (v Value) time() time.Time { return time.UnixMicro(v.n).UTC() }

// truth is the value as a condition: only true holds.
func (v Value) truth() bool { return v.kind == KindBool && v.n == 1 }

// number is the value as a number, if it is one.
func (v Value) number() (float64, bool) {
	switch v.kind {
	case KindLong, KindBool, KindDatetime, KindTimespan:
		return float64(v.n), true
	case KindReal:
		return v.real(), true
	}
	return 0, false
}

// Keep is the value in memory of its own, so that it outlives the record it is of.
func (v Value) Keep() Value {
	switch {
	case v.live != nil:
		return Value{kind: KindDynamic, s: string(v.live.MarshalTo(nil))}
	case v.kind == KindString:
		v.s = strings.Clone(v.s)
	case v.list != nil:
		kept := make([]Value, len(v.list))
		for i := range v.list {
			kept[i] = v.list[i].Keep()
		}
		v.list = kept
	}
	return v
}

// size is about how many bytes a kept value takes.
func (v Value) size() int {
	n := 80 + len(v.s)
	for _, item := range v.list {
		n += item.size()
	}
	return n
}

// Text is what tostring makes of the value: dynamic values as JSON, null as "".
func (v Value) Text() string {
	switch v.kind {
	case KindString:
		return v.s
	case KindBool:
		if v.n == 1 {
			return "true"
		}
		return "false"
	case KindLong:
		return strconv.FormatInt(v.n, 10)
	case KindReal:
		return strconv.FormatFloat(v.real(), 'f', -1, 64)
	case KindDatetime:
		return v.time().Format("2006-01-02T15:04:05.0000000Z")
	case KindTimespan:
		return timespanText(v.n)
	case KindDynamic:
		return string(v.AppendJSON(nil))
	}
	return ""
}

// timespanText is [-][d.]hh:mm:ss[.fffffff].
func timespanText(micros int64) string {
	var b strings.Builder
	if micros < 0 {
		b.WriteByte('-')
		micros = -micros
	}
	d := time.Duration(micros) * time.Microsecond
	if days := d / (24 * time.Hour); days > 0 {
		b.WriteString(strconv.FormatInt(int64(days), 10) + ".")
	}
	at := time.UnixMicro(micros).UTC()
	b.WriteString(at.Format("15:04:05"))
	if at.Nanosecond() > 0 {
		b.WriteString(at.Format(".0000000"))
	}
	return b.String()
}

// AppendJSON appends the value as JSON.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.kind {
	case KindNull:
		return append(b, "null"...)
	case KindBool, KindLong:
		return append(b, v.Text()...)
	case KindReal:
		if f := v.real(); math.IsNaN(f) || math.IsInf(f, 0) {
			return append(b, "null"...)
		}
		return append(b, v.Text()...)
	case KindDynamic:
		switch {
		case v.live != nil:
			return v.live.MarshalTo(b)
		case v.list == nil && v.s != "":
			return append(b, v.s...)
		}
		b = append(b, '[')
		for i, item := range v.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.AppendJSON(b)
		}
		return append(b, ']')
	}
	return appendQuoted(b, v.Text())
}

func appendQuoted(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// unsafeText is a JSON string's text, in the memory of its document.
func unsafeText(v *fastjson.Value) string {
	b, err := v.StringBytes()
	if err != nil {
		return ""
	}
	return bytesText(b)
}
