package kql

import (
	"strings"
	"time"
)

// equal tells whether two values are the same; known is false if neither is a value.
func equal(a, b Value, fold bool) (same, known bool) {
	if a.kind == KindNull || b.kind == KindNull {
		return false, a.kind != b.kind
	}
	if a.kind == KindString && b.kind == KindString {
		return a.s == b.s || fold && len(a.s) == len(b.s) && strings.EqualFold(a.s, b.s), true
	}
	if c, ok := compare(a, b); ok {
		return c == 0, true
	}
	if a.kind == KindDynamic || b.kind == KindDynamic {
		x, y := a.Text(), b.Text()
		return x == y || fold && strings.EqualFold(x, y), true
	}
	return false, true
}

// compare orders two values that have an order among each other.
func compare(a, b Value) (int, bool) {
	if a.kind != b.kind {
		a, b = alike(a, b)
	}
	switch {
	case a.kind == KindString && b.kind == KindString:
		return strings.Compare(a.s, b.s), true
	case a.kind == b.kind && (a.kind == KindLong || a.kind == KindDatetime || a.kind == KindTimespan || a.kind == KindBool):
		return order(a.n, b.n), true
	case numeric(a) && numeric(b):
		x, _ := a.number()
		y, _ := b.number()
		return order(x, y), true
	}
	return 0, false
}

func order[T int64 | float64 | int](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func numeric(v Value) bool {
	return v.kind == KindLong || v.kind == KindReal || v.kind == KindBool
}

// alike converts a text that stands beside a moment or a span of time: in JSON both
// are texts.
func alike(a, b Value) (Value, Value) {
	switch {
	case a.kind == KindString && b.kind == KindDatetime:
		return toDatetime(a), b
	case a.kind == KindDatetime && b.kind == KindString:
		return a, toDatetime(b)
	case a.kind == KindString && b.kind == KindTimespan:
		return toTimespan(a), b
	case a.kind == KindTimespan && b.kind == KindString:
		return a, toTimespan(b)
	}
	return a, b
}

// rank orders values of kinds that do not compare, so that sorting is total.
func rank(v Value) int {
	switch v.kind {
	case KindBool, KindLong, KindReal:
		return 1
	case KindDatetime:
		return 2
	case KindTimespan:
		return 3
	case KindString:
		return 4
	case KindDynamic:
		return 5
	}
	return 0
}

// total is a total order; nulls are equal to each other and below all.
func total(a, b Value) int {
	if x, y := rank(a), rank(b); x != y {
		return order(x, y)
	}
	if a.kind == KindDynamic {
		return strings.Compare(a.Text(), b.Text())
	}
	c, _ := compare(a, b)
	return c
}

// arithmetic is a op b; null where that means nothing.
func arithmetic(op byte, a, b Value) Value {
	switch {
	case a.kind == KindString && b.kind != KindString && (b.kind == KindDatetime || b.kind == KindTimespan):
		a = toDatetime(a)
	case b.kind == KindString && a.kind == KindDatetime:
		b = toDatetime(b)
	}
	switch {
	case a.kind == KindDatetime && b.kind == KindDatetime && op == '-':
		return Value{kind: KindTimespan, n: a.n - b.n}
	case a.kind == KindDatetime && b.kind == KindTimespan && (op == '+' || op == '-'):
		return moment(whole(op, a.n, b.n))
	case a.kind == KindTimespan && b.kind == KindDatetime && op == '+':
		return moment(whole(op, a.n, b.n))
	case a.kind == KindTimespan && b.kind == KindTimespan:
		return spans(op, a, b)
	case a.kind == KindTimespan && (b.kind == KindLong || b.kind == KindReal) && (op == '*' || op == '/'):
		return scaled(op, a, b)
	case b.kind == KindTimespan && (a.kind == KindLong || a.kind == KindReal) && op == '*':
		return scaled(op, b, a)
	case a.kind == KindLong && b.kind == KindLong:
		return whole(op, a.n, b.n)
	case (a.kind == KindLong || a.kind == KindReal) && (b.kind == KindLong || b.kind == KindReal):
		return broken(op, a, b)
	}
	return Null
}

func spans(op byte, a, b Value) Value {
	switch op {
	case '/':
		if b.n == 0 {
			return Null
		}
		return Real(float64(a.n) / float64(b.n))
	case '+', '-', '%':
		if v := whole(op, a.n, b.n); !v.IsNull() {
			return Value{kind: KindTimespan, n: v.n}
		}
	}
	return Null
}

func scaled(op byte, span, by Value) Value {
	f, _ := by.number()
	if op == '/' {
		if f == 0 {
			return Null
		}
		f = 1 / f
	}
	if v := truncated(float64(span.n) * f); !v.IsNull() {
		return Value{kind: KindTimespan, n: v.n}
	}
	return Null
}

// moment is a datetime of microseconds, if there is such a day.
func moment(v Value) Value {
	if t := time.UnixMicro(v.n).UTC(); v.IsNull() || t.Year() < 1 || t.Year() > 9999 {
		return Null
	}
	return Value{kind: KindDatetime, n: v.n}
}

func whole(op byte, a, b int64) Value {
	switch op {
	case '+':
		return Long(a + b)
	case '-':
		return Long(a - b)
	case '*':
		return Long(a * b)
	}
	if b == 0 || b == -1 && a == -a {
		return Null
	}
	if op == '/' {
		return Long(a / b)
	}
	m := a % b
	if m < 0 {
		m += max(b, -b)
	}
	return Long(m)
}

func broken(op byte, a, b Value) Value {
	x, _ := a.number()
	y, _ := b.number()
	switch op {
	case '+':
		return Real(x + y)
	case '-':
		return Real(x - y)
	case '*':
		return Real(x * y)
	case '/':
		return Real(x / y)
	}
	return Null
}
