package kql

import (
	"strings"
	"time"
)

// function is a scalar function. Arguments are evaluated before it is called.
type function struct {
	least, most int // arguments; most < 0: any number
	call        func(e *env, args []Value) Value
}

// unsupportedFunctions are some of Kusto's that people look for.
var unsupportedFunctions = map[string]string{
	"bag_unpack": "", "row_number": "", "prev": "", "next": "", "percentile": "", "stdev": "", "variance": "", "hll": "", "parse_path": "use split()",
	"parse_url": "use split() or extract()", "base64_decode_tostring": "", "base64_encode_tostring": "", "hash": "", "geo_distance_2points": "",
	"parse_ipv4": "", "ipv4_is_in_range": "", "ipv4_is_match": "", "format_timespan": "use tostring()", "extract_all": "use extract()", "zip": "", "treepath": "", "materialize": "",
}

func (c *compiler) call(x *callExpr) (eval, error) {
	if agg, ok := aggregates[x.name]; ok {
		if c.aggs != nil {
			return c.aggs.slot(x, agg)
		}
		if _, also := functions[x.name]; !also {
			return nil, errorAt(CodeSemantic, x.tok, "%s() is an aggregate: it is possible only in summarize", x.name)
		}
	}
	switch x.name {
	case "iff", "iif", "case", "coalesce", "column_ifexists", "not":
		return c.special(x)
	case "extract", "replace_regex", "trim", "trim_start", "trim_end":
		return c.regexCall(x)
	}
	fn, ok := functions[x.name]
	if !ok {
		hint := unsupportedFunctions[x.name]
		if hint != "" {
			hint = "; " + hint
		}
		return nil, errorAt(CodeUnsupported, x.tok, "the function '%s' is not supported%s", x.tok.text, hint)
	}
	if err := arity(x, fn.least, fn.most); err != nil {
		return nil, err
	}
	args, err := c.args(x)
	if err != nil {
		return nil, err
	}
	return applied(x.tok, fn, args), nil
}

func arity(x *callExpr, least, most int) error {
	n := len(x.args)
	if n >= least && (most < 0 || n <= most) {
		return nil
	}
	want := Long(int64(least)).Text()
	switch {
	case most < 0:
		want = "at least " + want
	case most > least:
		want += " to " + Long(int64(most)).Text()
	}
	return errorAt(CodeSemantic, x.tok, "%s() takes %s arguments, not %d", x.tok.text, want, n)
}

func (c *compiler) args(x *callExpr) ([]eval, error) {
	var args []eval
	for _, a := range x.args {
		get, err := c.expr(a)
		if err != nil {
			return nil, err
		}
		args = append(args, get)
	}
	return args, nil
}

func applied(tok token, fn function, args []eval) eval {
	return func(f *frame) Value {
		var few [4]Value
		vs := few[:0]
		for _, get := range args {
			v := get(f)
			f.env.spend(len(v.s))
			vs = append(vs, v)
		}
		return f.env.made(tok, fn.call(f.env, vs))
	}
}

// special are the functions that do not evaluate all of their arguments.
func (c *compiler) special(x *callExpr) (eval, error) {
	switch x.name {
	case "column_ifexists":
		return c.columnIfExists(x)
	case "iff", "iif":
		if err := arity(x, 3, 3); err != nil {
			return nil, err
		}
	case "not":
		if err := arity(x, 1, 1); err != nil {
			return nil, err
		}
	case "coalesce":
		if err := arity(x, 1, -1); err != nil {
			return nil, err
		}
	case "case":
		if len(x.args) < 3 || len(x.args)%2 == 0 {
			return nil, errorAt(CodeSemantic, x.tok, "case() takes pairs of a condition and a value, and a value for all others; there are %d arguments", len(x.args))
		}
	}
	args, err := c.args(x)
	if err != nil {
		return nil, err
	}
	switch x.name {
	case "coalesce":
		return func(f *frame) Value {
			for _, get := range args {
				if v := get(f); !empty(v) {
					return v
				}
			}
			return Null
		}, nil
	case "not":
		return func(f *frame) Value {
			v := toBool(args[0](f))
			if v.IsNull() {
				return Null
			}
			return Bool(!v.truth())
		}, nil
	}
	return func(f *frame) Value {
		for i := 0; i+1 < len(args); i += 2 {
			if args[i](f).truth() {
				return args[i+1](f)
			}
		}
		return args[len(args)-1](f)
	}, nil
}

func (c *compiler) columnIfExists(x *callExpr) (eval, error) {
	if err := arity(x, 2, 2); err != nil {
		return nil, err
	}
	name, ok := x.args[0].(*literalExpr)
	if !ok || name.value.kind != KindString {
		return nil, errorAt(CodeSemantic, x.args[0].at(), "column_ifexists() needs the column's name as a text")
	}
	if _, there := c.scope.find(name.value.s); there {
		return c.expr(&nameExpr{name.tok, name.value.s})
	}
	return c.expr(x.args[1])
}

func empty(v Value) bool { return v.kind == KindNull || v.kind == KindString && v.s == "" }

func one(f func(Value) Value) function {
	return function{1, 1, func(_ *env, a []Value) Value { return f(a[0]) }}
}

func text1(f func(string) Value) function {
	return function{1, 1, func(_ *env, a []Value) Value { return f(a[0].Text()) }}
}

// onTime applies to moments, and texts that are such.
func onTime(f func(time.Time) Value) function {
	return one(func(v Value) Value {
		if v = toDatetime(v); v.IsNull() {
			return Null
		}
		return f(v.time())
	})
}

func moments(f func(time.Time) time.Time) function {
	return function{1, 2, func(_ *env, a []Value) Value {
		v := toDatetime(a[0])
		if v.IsNull() {
			return Null
		}
		return Datetime(f(v.time()))
	}}
}

var functions = map[string]function{
	"tostring": one(toText), "tolower": text1(func(s string) Value { return String(strings.ToLower(s)) }), "toupper": text1(func(s string) Value { return String(strings.ToUpper(s)) }),
	"toint": one(toLong), "tolong": one(toLong), "todouble": one(toReal), "toreal": one(toReal), "todecimal": one(toReal), "tobool": one(toBool), "toboolean": one(toBool),
	"todatetime": one(toDatetime), "totimespan": one(toTimespan), "toguid": one(toText), "parse_json": one(toDynamic), "todynamic": one(toDynamic), "toobject": one(toDynamic),
	"datetime": one(toDatetime), "timespan": one(toTimespan), "time": one(toTimespan), "bool": one(toBool), "int": one(toLong), "long": one(toLong), "real": one(toReal), "double": one(toReal),
	"isempty": one(func(v Value) Value { return Bool(empty(v)) }), "isnotempty": one(func(v Value) Value { return Bool(!empty(v)) }), "notempty": one(func(v Value) Value { return Bool(!empty(v)) }),
	"isnull": one(func(v Value) Value { return Bool(v.IsNull()) }), "isnotnull": one(func(v Value) Value { return Bool(!v.IsNull()) }), "notnull": one(func(v Value) Value { return Bool(!v.IsNull()) }),
	"gettype": one(typeName), "strlen": text1(func(s string) Value { return Long(int64(runes(s))) }),
	"strcat": {1, -1, strcat}, "strcat_delim": {2, -1, strcatDelim}, "strcat_array": {2, 2, strcatArray}, "split": {2, 3, split}, "substring": {2, 3, substring}, "indexof": {2, 5, indexOf},
	"replace_string": {3, 3, replaceString}, "replace": {3, 3, replaceString}, "countof": {2, 2, countOf}, "reverse": text1(reversed), "strrep": {2, 3, strrep},
	"array_length": one(arrayLength), "array_concat": {1, -1, arrayConcat}, "array_index_of": {2, 2, arrayIndexOf}, "pack_array": {0, -1, packArray}, "set_has_element": {2, 2, hasElement},
	"array_slice": {3, 3, arraySlice}, "bag_keys": one(bagKeys), "bag_has_key": {2, 2, bagHasKey}, "pack": {2, -1, packBag}, "bag_pack": {2, -1, packBag},
	"abs": one(absolute), "round": {1, 2, round}, "floor": {1, 2, bin}, "bin": {2, 2, bin}, "ceiling": {1, 1, ceiling}, "min_of": {1, -1, minOf}, "max_of": {1, -1, maxOf},
	"now": {0, 1, now}, "ago": {1, 1, ago}, "datetime_diff": {3, 3, datetimeDiff}, "datetime_add": {3, 3, datetimeAdd}, "format_datetime": {2, 2, formatDatetime},
	"startofday": moments(startOfDay), "endofday": moments(func(t time.Time) time.Time { return startOfDay(t).AddDate(0, 0, 1).Add(-time.Microsecond) }),
	"startofmonth": moments(startOfMonth), "endofmonth": moments(func(t time.Time) time.Time { return startOfMonth(t).AddDate(0, 1, 0).Add(-time.Microsecond) }),
	"startofyear": moments(startOfYear), "startofweek": moments(func(t time.Time) time.Time { return startOfDay(t).AddDate(0, 0, -int(t.Weekday())) }),
	"dayofmonth": onTime(func(t time.Time) Value { return Long(int64(t.Day())) }), "dayofyear": onTime(func(t time.Time) Value { return Long(int64(t.YearDay())) }),
	"dayofweek": onTime(func(t time.Time) Value { return Timespan(time.Duration(t.Weekday()) * 24 * time.Hour) }), "getyear": onTime(func(t time.Time) Value { return Long(int64(t.Year())) }),
	"getmonth": onTime(func(t time.Time) Value { return Long(int64(t.Month())) }), "monthofyear": onTime(func(t time.Time) Value { return Long(int64(t.Month())) }), "hourofday": onTime(func(t time.Time) Value { return Long(int64(t.Hour())) }),
}
