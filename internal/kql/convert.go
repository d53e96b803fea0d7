package kql

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Conversions give null for what they cannot convert.

func toText(v Value) Value {
	if v.kind == KindString {
		return v
	}
	return String(v.Text())
}

func toLong(v Value) Value {
	switch v.kind {
	case KindLong:
		return v
	case KindBool, KindDatetime, KindTimespan:
		return Long(v.n)
	case KindReal:
		return truncated(v.real())
	case KindString:
		s := strings.TrimSpace(v.s)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return Long(n)
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return truncated(f)
		}
	}
	return Null
}

func truncated(f float64) Value {
	if math.IsNaN(f) || f >= math.MaxInt64 || f <= math.MinInt64 {
		return Null
	}
	return Long(int64(f))
}

func toReal(v Value) Value {
	if v.kind == KindString {
		f, err := strconv.ParseFloat(strings.TrimSpace(v.s), 64)
		if err != nil {
			return Null
		}
		return Real(f)
	}
	f, ok := v.number()
	if !ok {
		return Null
	}
	return Real(f)
}

func toBool(v Value) Value {
	switch v.kind {
	case KindBool:
		return v
	case KindLong:
		return Bool(v.n != 0)
	case KindReal:
		return Bool(v.real() != 0)
	case KindString:
		switch strings.ToLower(strings.TrimSpace(v.s)) {
		case "true", "1":
			return Bool(true)
		case "false", "0":
			return Bool(false)
		}
	}
	return Null
}

func toDatetime(v Value) Value {
	switch v.kind {
	case KindDatetime:
		return v
	case KindString:
		s := strings.TrimSpace(v.s)
		for _, layout := range datetimeLayouts {
			if t, err := time.Parse(layout, s); err == nil && t.Year() > 0 {
				return Datetime(t)
			}
		}
	}
	return Null
}

// toTimespan reads 1d, 1.02:03:04.5 and 02:03:04.
func toTimespan(v Value) Value {
	switch v.kind {
	case KindTimespan:
		return v
	case KindString:
		return timespanOf(strings.TrimSpace(v.s))
	}
	return Null
}

func timespanOf(s string) Value {
	s, negative := strings.CutPrefix(s, "-")
	sign := int64(1)
	if negative {
		sign = -1
	}
	if t, err := newLexer(s).next(); err == nil && t.kind == tokLiteral && t.text == s && t.value.kind == KindTimespan {
		return Value{kind: KindTimespan, n: sign * t.value.n}
	}
	var days int64
	clock := s
	if d, rest, ok := strings.Cut(s, "."); ok && strings.Contains(rest, ":") {
		n, err := strconv.ParseInt(d, 10, 32)
		if err != nil {
			return Null
		}
		days, clock = n, rest
	}
	t, err := time.Parse("15:04:05.9999999", clock)
	if err != nil {
		return Null
	}
	of := t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)) + time.Duration(days%100_000)*24*time.Hour
	return Value{kind: KindTimespan, n: sign * of.Microseconds()}
}
