package expr

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"hallmark.dev/hallmark/internal/expr/value"
)

var textTable = []Function{
	{Name: "concat", In: Policy | DSC, Min: 0, Max: anything, call: concat},
	{Name: "concat", In: Deployment, Min: 0, Max: anything, call: concatScalars},
	{Name: "toLower", In: all, Min: 1, Max: 1, call: onText(func(s string) string { return cases.Lower(language.Und).String(s) })},
	{Name: "toUpper", In: all, Min: 1, Max: 1, call: onText(func(s string) string { return cases.Upper(language.Und).String(s) })},
	{Name: "trim", In: all, Min: 1, Max: 1, call: onText(strings.TrimSpace)},
	{Name: "replace", In: all, Min: 3, Max: 3, call: replace},
	{Name: "substring", In: all, Min: 2, Max: 3, call: substring},
	{Name: "indexOf", In: all, Min: 2, Max: 2, call: indexOf},
	{Name: "lastIndexOf", In: all, Min: 2, Max: 2, call: lastIndexOf},
	{Name: "startsWith", In: all, Min: 2, Max: 2, call: textPredicate(value.HasPrefixFold)},
	{Name: "endsWith", In: all, Min: 2, Max: 2, call: textPredicate(value.HasSuffixFold)},
	{Name: "split", In: all, Min: 2, Max: 2, call: split},
	{Name: "join", In: all, Min: 2, Max: 2, call: join},
	{Name: "padLeft", In: all, Min: 2, Max: 3, call: padLeft},
	{Name: "format", In: all, Min: 1, Max: anything, call: format},
	{Name: "string", In: Policy, Min: 1, Max: 1, call: toText(Value.AppendSorted)},
	{Name: "string", In: template, Min: 1, Max: 1, call: toText(Value.AppendJSON)},
	{Name: "guid", In: Policy | Deployment, Min: 1, Max: anything, call: guid},
	{Name: "uniqueString", In: all, Min: 1, Max: anything, call: uniqueString},
}

// concat joins text, or arrays; a number or boolean among text is written as text.
func concat(args []Value) (Value, error) {
	if len(args) > 0 && args[0].Kind() == value.Array {
		return concatArrays(args)
	}
	n := 0
	for i := range args {
		if args[i].Kind() != value.String {
			return Value{}, wrong(args, i, "text, or all arguments arrays")
		}
		n += len(args[i].Str())
	}
	if n > maxText {
		return Value{}, errTooLong
	}
	var b strings.Builder
	b.Grow(n)
	for i := range args {
		b.WriteString(args[i].Str())
	}
	return value.FromString(b.String()), nil
}

// concatScalars is concat as templates have it: numbers and booleans become text,
// as in concat('vm', copyIndex()).
func concatScalars(args []Value) (Value, error) {
	texts := slices.Clone(args)
	for i, a := range args {
		switch {
		case a.IsNumber():
			texts[i] = value.FromString(a.JSON())
		case a.Kind() == value.Bool && a.IsTrue():
			texts[i] = value.FromString("True")
		case a.Kind() == value.Bool:
			texts[i] = value.FromString("False")
		}
	}
	return concat(texts)
}

func concatArrays(args []Value) (Value, error) {
	var elems []Value
	for i := range args {
		if args[i].Kind() != value.Array {
			return Value{}, wrong(args, i, "an array like the first")
		}
		if elems = append(elems, args[i].Elems()...); len(elems) > maxElems {
			return Value{}, errTooMany
		}
	}
	return value.FromSlice(elems), nil
}

func onText(f func(string) string) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		if args[0].Kind() != value.String {
			return Value{}, wrong(args, 0, "text")
		}
		return text(f(args[0].Str()))
	}
}

// texts checks that the arguments from first on are text.
func texts(args []Value) error {
	for i := range args {
		if args[i].Kind() != value.String {
			return wrong(args, i, "text")
		}
	}
	return nil
}

func textPredicate(holds func(s, t string) bool) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		ok := args[0].Kind() == value.String && args[1].Kind() == value.String
		return value.FromBool(ok && holds(args[0].Str(), args[1].Str())), nil
	}
}

func replace(args []Value) (Value, error) {
	if err := texts(args); err != nil {
		return Value{}, err
	}
	s, from, to := args[0].Str(), args[1].Str(), args[2].Str()
	if from == "" {
		return Value{}, errors.New("the text to replace is empty")
	}
	if n := strings.Count(s, from); len(s)+n*(len(to)-len(from)) > maxText {
		return Value{}, errTooLong
	}
	return text(strings.ReplaceAll(s, from, to))
}

// substring counts characters. A negative length means "to the end", as a
// missing one does; what reaches beyond the end is cut.
func substring(args []Value) (Value, error) {
	if args[0].Kind() != value.String {
		return Value{}, wrong(args, 0, "text")
	}
	start, ok := wholeNumber(args[1])
	if !ok || start < 0 {
		return Value{}, wrong(args, 1, "a whole number from 0")
	}
	length := int64(-1)
	if len(args) == 3 {
		if length, ok = wholeNumber(args[2]); !ok {
			return Value{}, wrong(args, 2, "a whole number")
		}
	}
	rest := dropRunes(args[0].Str(), start)
	if length < 0 {
		return value.FromString(rest), nil
	}
	return value.FromString(takeRunes(rest, length)), nil
}

func wholeNumber(v Value) (int64, bool) {
	switch v.Kind() {
	case value.Int:
		return v.Int64(), true
	case value.Float:
		return int64(v.Float64()), true
	}
	return 0, false
}

func takeRunes(s string, n int64) string { return s[:len(s)-len(dropRunes(s, n))] }

func dropRunes(s string, n int64) string {
	for i := range s {
		if n <= 0 {
			return s[i:]
		}
		n--
	}
	return ""
}

func indexOf(args []Value) (Value, error)     { return index(args, false) }
func lastIndexOf(args []Value) (Value, error) { return index(args, true) }

func index(args []Value, last bool) (Value, error) {
	if args[0].Kind() == value.Array {
		return indexInArray(args[0].Elems(), args[1], last), nil
	}
	if err := texts(args); err != nil {
		return Value{}, err
	}
	return value.FromInt(int64(foldedIndex(args[0].Str(), args[1].Str(), last))), nil
}

func indexInArray(elems []Value, want Value, last bool) Value {
	found := -1
	for i := range elems {
		if value.Same(elems[i], want) {
			if found = i; !last {
				break
			}
		}
	}
	return value.FromInt(int64(found))
}

// foldedIndex finds part in s ignoring case and returns the position in UTF-16
// units, -1 when it is not there.
func foldedIndex(s, part string, last bool) int {
	var folded strings.Builder
	var units []int // the UTF-16 position at each byte of folded
	unit := 0
	for _, r := range s {
		n := folded.Len()
		folded.WriteString(value.Fold(string(r)))
		for ; n < folded.Len(); n++ {
			units = append(units, unit)
		}
		unit += utf16.RuneLen(r)
	}
	units = append(units, unit)
	find := strings.Index
	if last {
		find = strings.LastIndex
	}
	at := find(folded.String(), value.Fold(part))
	if at < 0 {
		return -1
	}
	return units[at]
}

func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// split cuts at a delimiter, or at any of several; where two fit, the longest.
func split(args []Value) (Value, error) {
	if args[0].Kind() != value.String {
		return Value{}, wrong(args, 0, "text")
	}
	delimiters, err := delimitersOf(args)
	if err != nil {
		return Value{}, err
	}
	var parts []Value
	s, start := args[0].Str(), 0
	for i := 0; i < len(s); {
		n := delimiterAt(s[i:], delimiters)
		if n == 0 {
			i++
			continue
		}
		parts = append(parts, value.FromString(s[start:i]))
		i += n
		start = i
	}
	return value.FromSlice(append(parts, value.FromString(s[start:]))), nil
}

func delimitersOf(args []Value) ([]string, error) {
	var delimiters []string
	switch d := args[1]; d.Kind() {
	case value.String:
		delimiters = []string{d.Str()}
	case value.Array:
		for _, e := range d.Elems() {
			if e.Kind() != value.String {
				return nil, wrong(args, 1, "text or an array of text")
			}
			delimiters = append(delimiters, e.Str())
		}
	default:
		return nil, wrong(args, 1, "text or an array of text")
	}
	slices.SortStableFunc(delimiters, func(a, b string) int { return len(b) - len(a) })
	return delimiters, nil
}

func delimiterAt(s string, delimiters []string) int {
	for _, d := range delimiters {
		if d != "" && strings.HasPrefix(s, d) {
			return len(d)
		}
	}
	return 0
}

func join(args []Value) (Value, error) {
	if args[0].Kind() != value.Array {
		return Value{}, wrong(args, 0, "an array")
	}
	if args[1].Kind() != value.String {
		return Value{}, wrong(args, 1, "text")
	}
	var b []byte
	for i, e := range args[0].Elems() {
		if i > 0 {
			b = append(b, args[1].Str()...)
		}
		if e.Kind() == value.String {
			b = append(b, e.Str()...)
		} else {
			b = e.AppendSorted(b)
		}
		if len(b) > maxText {
			return Value{}, errTooLong
		}
	}
	return text(string(b))
}

// padLeft pads to a width in characters with the first character of the third
// argument, a space by default; it never cuts.
func padLeft(args []Value) (Value, error) {
	s, ok := args[0].Str(), args[0].Kind() == value.String
	if !ok {
		return Value{}, wrong(args, 0, "text")
	}
	width, ok := wholeNumber(args[1])
	if n, isText := value.ParseNumber(args[1].Str()); isText {
		width, ok = wholeNumber(n)
	}
	if !ok {
		return Value{}, wrong(args, 1, "a whole number")
	}
	pad := " "
	if len(args) == 3 {
		if args[2].Kind() != value.String || args[2].Str() == "" {
			return Value{}, wrong(args, 2, "text of one character")
		}
		pad = takeRunes(args[2].Str(), 1)
	}
	missing := width - int64(utf8.RuneCountInString(s))
	if missing > maxText {
		return Value{}, errTooLong
	}
	return text(strings.Repeat(pad, int(max(missing, 0))) + s)
}

func toText(render func(Value, []byte) []byte) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		if args[0].Kind() == value.String {
			return args[0], nil
		}
		return text(string(render(args[0], nil)))
	}
}
