package value

import (
	"cmp"
	"strconv"
	"strings"

	"golang.org/x/text/cases"
)

// Fold returns s in full Unicode case folding (sharp s becomes ss, ligatures are
// taken apart), which is how the policy language compares text.
func Fold(s string) string {
	if isASCII(s) {
		return LowerASCII(s)
	}
	return cases.Fold().String(s)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// EqualFold reports Fold(a) == Fold(b), without allocating for ASCII text.
func EqualFold(a, b string) bool { return CompareFold(a, b) == 0 }

// CompareFold orders Fold(a) and Fold(b) by code points. As long as both texts
// are ASCII a difference decides, because ASCII characters fold one to one.
func CompareFold(a, b string) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if (a[i]|b[i])&0x80 != 0 {
			return strings.Compare(Fold(a), Fold(b))
		}
		if x, y := lower[a[i]], lower[b[i]]; x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(a), len(b))
}

// HasPrefixFold reports whether Fold(s) starts with Fold(prefix).
func HasPrefixFold(s, prefix string) bool {
	if isASCII(prefix) && len(s) >= len(prefix) && isASCII(s[:len(prefix)]) {
		return EqualASCII(s[:len(prefix)], prefix)
	}
	return strings.HasPrefix(Fold(s), Fold(prefix))
}

// HasSuffixFold reports whether Fold(s) ends with Fold(suffix).
func HasSuffixFold(s, suffix string) bool {
	if isASCII(suffix) && len(s) >= len(suffix) && isASCII(s[len(s)-len(suffix):]) {
		return EqualASCII(s[len(s)-len(suffix):], suffix)
	}
	return strings.HasSuffix(Fold(s), Fold(suffix))
}

// ContainsFold reports whether Fold(s) contains Fold(part).
func ContainsFold(s, part string) bool {
	if !isASCII(s) || !isASCII(part) {
		return strings.Contains(Fold(s), Fold(part))
	}
	if part == "" {
		return true
	}
	first := lower[part[0]]
	for i := 0; i+len(part) <= len(s); i++ {
		if lower[s[i]] == first && EqualASCII(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// ParseNumber reads trimmed decimal text as an integer or float.
func ParseNumber(s string) (Value, bool) {
	s = strings.TrimSpace(s)
	if s == "" || strings.IndexFunc(s, notNumeric) >= 0 {
		return Value{}, false
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return FromInt(i), true
	}
	f, err := strconv.ParseFloat(s, 64)
	return FromFloat(f), err == nil
}

func notNumeric(r rune) bool { return !strings.ContainsRune("0123456789+-.eE", r) }

// Same is exact deep equality: no folding of strings, no coercion; 1 equals 1.0.
// Keys of a resource document match ignoring ASCII case.
func Same(a, b Value) bool {
	switch {
	case a.IsNumber() && b.IsNumber():
		return compareNumbers(a, b) == 0
	case a.kind != b.kind:
		return false
	}
	switch a.kind {
	case Bool:
		return a.num == b.num
	case String:
		return a.str == b.str
	case Array:
		return sameElems(a.box.elems, b.box.elems)
	case Object:
		return sameMembers(a, b)
	}
	return true
}

func sameElems(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !Same(a[i], b[i]) {
			return false
		}
	}
	return true
}

func sameMembers(a, b Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i, m := range a.box.members {
		if !a.box.folded && !b.box.folded && i < b.Len() && b.Key(i) == m.key {
			if !Same(m.val, b.At(i)) {
				return false
			}
			continue
		}
		other := b.Get(m.key)
		if other.IsUndefined() && a.box.folded {
			other = b.Find(NewKey(m.key))
		}
		if other.IsUndefined() || !Same(m.val, other) {
			return false
		}
	}
	return true
}

func compareNumbers(a, b Value) int {
	if a.kind == Int && b.kind == Int {
		return cmp.Compare(int64(a.num), int64(b.num))
	}
	return cmp.Compare(a.Float64(), b.Float64())
}

// Equal is the policy operator equals: text ignores case, null equals "", a
// number or boolean equals its text; anything else must be the Same. An
// undefined left value equals null only; an undefined right value nothing.
func Equal(l, r Value) bool {
	switch {
	case r.kind == Undefined:
		return false
	case l.kind == Undefined:
		return r.kind == Null
	case l.kind == String && r.kind == String:
		return l.str == r.str || EqualFold(l.str, r.str)
	case l.kind == String:
		return textEquals(l.str, r)
	case r.kind == String:
		return textEquals(r.str, l)
	}
	return Same(l, r)
}

// textEquals compares text with a value that is not a string.
func textEquals(s string, v Value) bool {
	switch v.kind {
	case Null:
		return s == ""
	case Int, Float:
		n, ok := ParseNumber(s)
		return ok && compareNumbers(n, v) == 0
	case Bool:
		return v.num == 1 && EqualASCII(s, "true") || v.num == 0 && EqualASCII(s, "false")
	}
	return false
}

// Compare orders two values for greater and less. ok is false when they cannot
// be compared: neither both text, both numbers, both booleans, nor a number and
// numeric text.
func Compare(l, r Value) (order int, ok bool) {
	switch {
	case l.kind == String && r.kind == String:
		return CompareFold(l.str, r.str), true
	case l.IsNumber() && r.IsNumber():
		return compareNumbers(l, r), true
	case l.kind == Bool && r.kind == Bool:
		return cmp.Compare(l.num, r.num), true
	case l.kind == String && r.IsNumber():
		n, ok := ParseNumber(l.str)
		return compareNumbers(n, r), ok
	case l.IsNumber() && r.kind == String:
		n, ok := ParseNumber(r.str)
		return compareNumbers(l, n), ok
	}
	return 0, false
}

// In is the policy operator in. A right value that is not an array acts as an
// array of one. Null is in nothing; of an array's elements a null counts only
// for an undefined left value.
func In(l, r Value) bool {
	if l.kind == Null || r.kind == Undefined {
		return false
	}
	if r.kind != Array {
		return l.kind != Undefined && Equal(l, r)
	}
	for _, e := range r.box.elems {
		if e.kind == Null && l.kind == Undefined {
			return true
		}
		if e.kind != Null && Equal(l, e) {
			return true
		}
	}
	return false
}

// Contains is the policy operator contains: a substring, an array's element, or
// an object's key.
func Contains(l, r Value) bool {
	if r.kind == Undefined {
		return false
	}
	switch l.kind {
	case String:
		part, ok := r.Text()
		return ok && ContainsFold(l.str, part)
	case Bool, Int, Float:
		text, _ := l.Text()
		return r.kind == String && ContainsFold(text, r.str)
	case Array:
		for _, e := range l.box.elems {
			if Equal(e, r) {
				return true
			}
		}
	case Object:
		return ContainsKey(l, r)
	}
	return false
}

// ContainsKey is the policy operator containsKey: keys match as Equal does.
func ContainsKey(l, r Value) bool {
	if l.kind != Object || r.kind <= Null || r.kind >= Array {
		return false
	}
	for i := range l.box.members {
		if Equal(FromString(l.box.members[i].key), r) {
			return true
		}
	}
	return false
}
