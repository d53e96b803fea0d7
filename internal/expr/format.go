package expr

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/expr/value"
)

// maxAlign is the widest alignment of a format item.
const maxAlign = 10_000

// format is .NET composite formatting: {index[,alignment][:spec]}, with doubled
// braces for braces.
func format(args []Value) (Value, error) {
	if args[0].Kind() != value.String {
		return Value{}, wrong(args, 0, "text")
	}
	var b strings.Builder
	rest := args[0].Str()
	for rest != "" {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:at])
		brace := rest[at]
		rest = rest[at+1:]
		if rest != "" && rest[0] == brace {
			b.WriteByte(brace)
			rest = rest[1:]
			continue
		}
		end := strings.IndexByte(rest, '}')
		if brace == '}' || end < 0 {
			return Value{}, errors.New("a brace in the format stands alone; write it twice to mean itself")
		}
		if err := formatItem(&b, rest[:end], args[1:]); err != nil {
			return Value{}, err
		}
		if b.Len() > maxText {
			return Value{}, errTooLong
		}
		rest = rest[end+1:]
	}
	return text(b.String())
}

func formatItem(b *strings.Builder, item string, args []Value) error {
	head, spec, _ := strings.Cut(item, ":")
	indexText, alignText, aligned := strings.Cut(head, ",")
	i, err := strconv.Atoi(strings.TrimSpace(indexText))
	if err != nil || i < 0 {
		return fmt.Errorf("{%s} in the format does not start with the number of an argument", shorten(item))
	}
	if i >= len(args) {
		return fmt.Errorf("the format asks for argument {%d}, but there are %d", i, len(args))
	}
	width := 0
	if aligned {
		if width, err = strconv.Atoi(strings.TrimSpace(alignText)); err != nil || width > maxAlign || width < -maxAlign {
			return fmt.Errorf("the alignment in {%s} is not a whole number up to %d", shorten(item), maxAlign)
		}
	}
	s, err := formatted(args[i], spec)
	if err != nil {
		return err
	}
	pad := strings.Repeat(" ", max(max(width, -width)-utf8.RuneCountInString(s), 0))
	if width > 0 {
		s = pad + s
	} else {
		s += pad
	}
	b.WriteString(s)
	return nil
}

func formatted(v Value, spec string) (string, error) {
	switch v.Kind() {
	case value.Null:
		return "", nil
	case value.String:
		return v.Str(), nil
	case value.Bool:
		if v.IsTrue() {
			return "True", nil
		}
		return "False", nil
	case value.Int, value.Float:
		return formattedNumber(v, spec)
	}
	return string(v.AppendSorted(nil)), nil
}

func formattedNumber(v Value, spec string) (string, error) {
	if spec == "" {
		return v.JSON(), nil
	}
	digits := -1
	if len(spec) > 1 {
		n, err := strconv.Atoi(spec[1:])
		if err != nil || n < 0 || n > 99 {
			return "", fmt.Errorf("unknown number format %q", shorten(spec))
		}
		digits = n
	}
	switch spec[0] | 0x20 {
	case 'f':
		return fixed(v, orDefault(digits, 2), 0), nil
	case 'n':
		return grouped(fixed(v, orDefault(digits, 2), 0)), nil
	case 'p':
		return grouped(fixed(v, orDefault(digits, 2), 2)) + " %", nil
	case 'd', 'x':
		return integerFormat(v, spec[0], orDefault(digits, 0))
	}
	return "", fmt.Errorf("unknown number format %q; F, N, D, P and X are known", shorten(spec))
}

func orDefault(n, standard int) int {
	if n < 0 {
		return standard
	}
	return n
}

// fixed writes v times 10^shift with so many decimals, rounding halves away
// from zero.
func fixed(v Value, decimals, shift int) string {
	r := new(big.Rat)
	if v.Kind() == value.Int {
		r.SetInt64(v.Int64())
	} else if r.SetFloat64(v.Float64()) == nil {
		return "0"
	}
	for range shift {
		r.Mul(r, big.NewRat(10, 1))
	}
	return r.FloatString(decimals)
}

// grouped puts a comma after every three digits of the integer part.
func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, fraction, has := strings.Cut(s, ".")
	var parts []string
	for len(whole) > 3 {
		parts = append([]string{whole[len(whole)-3:]}, parts...)
		whole = whole[:len(whole)-3]
	}
	s = sign + strings.Join(append([]string{whole}, parts...), ",")
	if has {
		s += "." + fraction
	}
	return s
}

func integerFormat(v Value, spec byte, digits int) (string, error) {
	if v.Kind() != value.Int {
		return "", fmt.Errorf("the format %c wants a whole number", spec)
	}
	sign, s := "", strconv.FormatInt(v.Int64(), 10)
	switch spec {
	case 'X':
		s = strings.ToUpper(strconv.FormatUint(uint64(v.Int64()), 16))
	case 'x':
		s = strconv.FormatUint(uint64(v.Int64()), 16)
	default:
		if strings.HasPrefix(s, "-") {
			sign, s = "-", s[1:]
		}
	}
	return sign + strings.Repeat("0", max(digits-len(s), 0)) + s, nil
}
