package expr

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/expr/value"
)

// fakeHost answers the host functions from plain data.
type fakeHost map[string]string

func (h fakeHost) CallHost(name string, args []Value) (Value, error) {
	key := name
	for _, a := range args {
		key += "," + a.Str()
	}
	text, ok := h[key]
	if !ok {
		return Value{}, nil
	}
	return value.Parse(text)
}

var host = fakeHost{
	"parameters,list": `[1,2,3]`, "parameters,obj": `{"a":{"b":[10,20]},"Name":"x"}`, "parameters,s": `"Straße"`,
	"parameters,null": `null`, "utcNow": `"2026-11-22T05:00:00Z"`, "contoso.greet,you": `"hello you"`,
}

func eval(text string, d Dialect) (Value, error) {
	node, err := Parse(text)
	if err != nil {
		return Value{}, err
	}
	p, err := Compile(text, node, d, nil)
	if err != nil {
		return Value{}, err
	}
	return p.Eval(&Env{Host: host})
}

// The expected values come from Microsoft's documentation of the functions, the
// .NET documentation of format strings, and public tests of other evaluators.
func TestEval(t *testing.T) {
	tests := []struct{ text, want string }{
		{`[concat('a', 'b')]`, `"ab"`},
		{`[concat(createArray(1), createArray('x', null))]`, `[1,"x",null]`},
		{`['it''s']`, `"it's"`},
		{`[-5]`, `-5`},
		{`[-int('5')]`, `-5`},
		{`[TRUE]`, `true`},
		{`[if(true, 'yes', int('broken'))]`, `"yes"`},
		{`[coalesce(null, parameters('missing'), 'x', int('broken'))]`, `"x"`},
		{`[coalesce(null)]`, `null`},
		{`[and(true, false, int('broken'))]`, `false`},
		{`[or(false, true, int('broken'))]`, `true`},
		{`[parameters('obj').a.b[1]]`, `20`},
		{`[parameters('obj')['Name']]`, `"x"`},
		{`[parameters('list')[7]]`, `undefined`},
		{`[parameters('obj').nope.further]`, `undefined`},
		{`[toUpper('straße')]`, `"STRASSE"`},
		{`[equals('STRASSE', parameters('s'))]`, `true`},
		{`[equals('5', 5)]`, `true`},
		{`[startsWith('ABCdef', 'abC')]`, `true`},
		{`[endsWith(5, 'x')]`, `false`},
		{`[indexOf('test', 't')]`, `0`},
		{`[lastIndexOf('test', 't')]`, `3`},
		{`[indexOf('abcdef', 'CD')]`, `2`},
		{`[indexOf('a😀b', 'B')]`, `3`},
		{`[lastIndexOf('abcdef', '')]`, `6`},
		{`[length('a😀b')]`, `4`},
		{`[length(parameters('obj'))]`, `2`},
		{`[substring('one two three', 4, 3)]`, `"two"`},
		{`[substring('one two three', 8)]`, `"three"`},
		{`[substring('abc', 1, 99)]`, `"bc"`},
		{`[split('one;two,three', createArray(',', ';'))]`, `["one","two","three"]`},
		{`[split('a::b:c', createArray(':', '::'))]`, `["a","b","c"]`},
		{`[split('abc', '')]`, `["abc"]`},
		{`[split(',a,', ',')]`, `["","a",""]`},
		{`[padLeft('123', 10, '0')]`, `"0000000123"`},
		{`[padLeft('12345', '3')]`, `"12345"`},
		{`[format('{0}, {1}. Formatted number: {2:N0}', 'Hello', 'User', 8175133)]`, `"Hello, User. Formatted number: 8,175,133"`},
		{`[format('{{{0,5}|{0,-5}}}', 'ab')]`, `"{   ab|ab   }"`},
		{`[format('{0:F1} {0:P0} {1:D5} {1:X} {2} {3}', 0.25, 255, true, null)]`, `"0.3 25 % 00255 FF True "`},
		{`[string(createObject('b', 1, 'a', 'x'))]`, `"{\"a\":\"x\",\"b\":1}"`},
		{`[string(null)]`, `"null"`},
		{`[int('7')]`, `7`},
		{`[int(7.9)]`, `7`},
		{`[float('1.5')]`, `1.5`},
		{`[bool('TRUE')]`, `true`},
		{`[add(5, 3)]`, `8`},
		{`[sub(1.5, 0.5)]`, `1`},
		{`[div(8, -3)]`, `-2`},
		{`[mod(-7, 3)]`, `-1`},
		{`[min(createArray(3, 1, 2))]`, `1`},
		{`[max(0, 3, 2)]`, `3`},
		{`[empty(parameters('missing'))]`, `true`},
		{`[empty(0)]`, `false`},
		{`[first('One Two')]`, `"O"`},
		{`[first(createArray())]`, `null`},
		{`[last('')]`, `""`},
		{`[take('abc', -1)]`, `""`},
		{`[skip(createArray(1, 2, 3), 2)]`, `[3]`},
		{`[union(createArray(1, 2), createArray(2, 3))]`, `[1,2,3]`},
		{`[union(json('{"a":{"x":1},"b":1}'), json('{"a":{"y":2},"b":2}'))]`, `{"a":{"x":1,"y":2},"b":2}`},
		{`[intersection(createArray('one', 'two', 'three'), createArray('two', 'three'))]`, `["two","three"]`},
		{`[intersection(json('{"one":"a","two":"b"}'), json('{"one":"a","two":"z"}'))]`, `{"one":"a"}`},
		{`[items(json('{"b":1,"a":2}'))]`, `[{"key":"a","value":2},{"key":"b","value":1}]`},
		{`[join(createArray('a', null, 1), '-')]`, `"a-null-1"`},
		{`[range(5, 3)]`, `[5,6,7]`},
		{`[indexFromEnd(createArray(1, 2, 3), 1)]`, `3`},
		{`[tryIndexFromEnd(createArray(1), 2)]`, `null`},
		{`[tryGet(parameters('obj'), 'a')]`, `{"b":[10,20]}`},
		{`[base64('one, two, three')]`, `"b25lLCB0d28sIHRocmVl"`},
		{`[base64ToJson(base64('{"one":"a"}')).one]`, `"a"`},
		{`[dataUri('Hello')]`, `"data:text/plain;charset=utf8;base64,SGVsbG8="`},
		{`[dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')]`, `"Hello, World!"`},
		{`[uri('http://contoso.org/firstpath', 'myscript.sh')]`, `"http://contoso.org/myscript.sh"`},
		{`[uri('http://contoso.org/firstpath/', 'myscript.sh')]`, `"http://contoso.org/firstpath/myscript.sh"`},
		{`[uriComponent('http://contoso.com/a b')]`, `"http%3A%2F%2Fcontoso.com%2Fa%20b"`},
		{`[uriComponentToString('%41+')]`, `"A+"`},
		{`[ipRangeContains('10.0.0.0/8', '10.2.0.0/16')]`, `true`},
		{`[ipRangeContains('10.0.0.0/8', '::1')]`, `false`},
		{`[ipRangeContains('10.0.0.0/16', '10.0.0.0/8')]`, `false`},
		{`[addDays('2026-01-31T00:00:00+02:00', 1)]`, `"2026-02-01T00:00:00+02:00"`},
		{`[addDays('2026-01-31 10:00:00.1234567', -31)]`, `"2025-12-31T10:00:00.1234567Z"`},
		{`[dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y')]`, `"2023-04-07T14:53:14Z"`},
		{`[dateTimeAdd('2020-04-07 14:53:14Z', '-P9D', 'yyyy/MM/dd')]`, `"2020/03/29"`},
		{`[dateTimeAdd('2020-04-07 14:53:14Z', 'PT1H', 'r')]`, `"Tue, 07 Apr 2020 15:53:14 GMT"`},
		{`[dateTimeFromEpoch(1683040573)]`, `"2023-05-02T15:16:13Z"`},
		{`[dateTimeToEpoch('2023-05-02T15:16:13Z')]`, `1683040573`},
		{`[concat('now ', utcNow())]`, `"now 2026-11-22T05:00:00Z"`},
		// published by users who ran the same expressions in Azure
		{`[uniqueString('tyeth')]`, `"zcztcwvu6iyg6"`},
		{`[uniqueString('hello', 'world')]`, `"a7wkljktk6wne"`},
		{`[uniqueString('/subscriptions/31e9f9a0-9fd2-4294-a0a3-0101246d9700/resourceGroups/rg-modm201-20230913120256/providers/Microsoft.Compute/virtualMachines/bobjacmodm201')]`, `"yvjxno3je5on2"`},
		// Python: uuid.uuid5(uuid.UUID('11fb06fb-712d-4ddd-98c7-e71bbd588830'), 'a-b-c')
		{`[guid('a', 'b', 'c')]`, `"a98fa280-e03f-5afa-8d8e-92d0a9c201e8"`},
	}
	for _, tt := range tests {
		got, err := eval(tt.text, Policy)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		text := got.JSON()
		if got.IsUndefined() {
			text = "undefined"
		}
		if text != tt.want {
			t.Errorf("%s = %s, want %s", tt.text, text, tt.want)
		}
	}
}

func TestEvalTemplateLanguages(t *testing.T) {
	tests := []struct {
		text, want string
		dialect    Dialect
	}{
		{`[equals('a', 'A')]`, `false`, Deployment},
		{`[concat('vm', 1, true())]`, `"vm1True"`, Deployment},
		{`[contains('OneTwo', 'one')]`, `false`, Deployment},
		{`[parameters('obj').NAME]`, `"x"`, Deployment},
		{`[map(parameters('list'), lambda('x', add(lambdaVariables('x'), 1)))]`, `[2,3,4]`, DSC},
		{`[filter(parameters('list'), lambda('x', greater(lambdaVariables('x'), 1)))]`, `[2,3]`, Deployment},
		{`[reduce(parameters('list'), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))]`, `6`, Deployment},
		{`[sort(parameters('list'), lambda('a', 'b', greater(lambdaVariables('a'), lambdaVariables('b'))))]`, `[3,2,1]`, Deployment},
		{`[toObject(createArray('p','q'), lambda('x', lambdaVariables('x')), lambda('x', concat(lambdaVariables('x'), '!')))]`, `{"p":"p!","q":"q!"}`, Deployment},
		{`[groupBy(createArray('ab','ac','b'), lambda('x', first(lambdaVariables('x'))))]`, `{"a":["ab","ac"],"b":["b"]}`, Deployment},
		{`[map(createArray(1), lambda('x', map(createArray(2), lambda('y', add(lambdaVariables('x'), lambdaVariables('y'))))))]`, `[[3]]`, Deployment},
		{`[contoso.greet('you')]`, `"hello you"`, Deployment},
		{`[parseCidr('10.144.0.0/20')]`, `{"network":"10.144.0.0","netmask":"255.255.240.0","broadcast":"10.144.15.255","firstUsable":"10.144.0.1","lastUsable":"10.144.15.254","cidr":20}`, Deployment},
		{`[cidrSubnet('10.144.0.0/20', 24, 1)]`, `"10.144.1.0/24"`, DSC},
		{`[cidrHost('10.144.3.0/24', 4)]`, `"10.144.3.5"`, Deployment},
		{`[shallowMerge(createArray(createObject('a', 1), createObject('a', 2, 'b', 3)))]`, `{"a":2,"b":3}`, DSC},
		{`[null()]`, `null`, DSC},
	}
	for _, tt := range tests {
		got, err := eval(tt.text, tt.dialect)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		} else if got.JSON() != tt.want {
			t.Errorf("%s = %s, want %s", tt.text, got.JSON(), tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		text, function, reason string
		offset                 int
	}{
		{`[concat('a'`, "", "expression starts with [", 0},
		{`[concat('a']`, "", "a comma or )", 11},
		{`[concat('a) ]`, "", "never ends", 8},
		{`[a b]`, "", "unknown word a", 1},
		{`[1 2]`, "", "text after the end", 3},
		{`[nosuch()]`, "nosuch", "no such function", 1},
		{`[toLower('a', 'b')]`, "toLower", "takes 1 arguments, not 2", 1},
		{`[listKeys('a', 'b')]`, "listKeys", "no such function", 1},
		{`[reference('a')]`, "reference", "cannot be called in policies", 1},
		{`[concat('a', toLower(null))]`, "toLower", "must be text, not the null", 13},
		{`[concat(1, 'a')]`, "concat", "argument 1 must be text", 1},
		{`[not('x')]`, "not", "must be a boolean", 1},
		{`[and(true, 'true')]`, "and", "argument 2 must be a boolean", 1},
		{`[div(1, 0)]`, "div", "division by zero", 1},
		{`[add(9223372036854775807, 1)]`, "add", "64-bit", 1},
		{`[padLeft('a', 99999999999)]`, "padLeft", "1 MiB", 1},
		{`[format('{0')]`, "format", "brace", 1},
		{`[format('{1}', 'a')]`, "format", "asks for argument {1}", 1},
		{`[format('{0,10001}', 'a')]`, "format", "alignment", 1},
		{`[range(0, 10001)]`, "range", "10000", 1},
		{`[json('{')]`, "json", "not JSON", 1},
		{`[dateTimeAdd('2020-01-01', 'P1Y', 'q')]`, "dateTimeAdd", "unknown date format", 1},
		{`[length(createArray(` + strings.TrimSuffix(strings.Repeat("range(0,10000),", 150), ",") + `))]`, "range", "more than 1000000", 1520},
		{`[` + strings.Repeat("int(", 200) + strings.Repeat(")", 200) + `]`, "", "deeper than 128", 513},
	}
	for _, tt := range tests {
		_, err := eval(tt.text, Policy)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.80s: error %v, want an *Error", tt.text, err)
			continue
		}
		if e.Function != tt.function || e.Offset != tt.offset || !strings.Contains(e.Reason, tt.reason) {
			t.Errorf("%.80s: %q at %d: %s; want %q at %d: %s", tt.text, e.Function, e.Offset, e.Reason, tt.function, tt.offset, tt.reason)
		}
	}
}

func TestEveryCompileErrorIsReported(t *testing.T) {
	_, err := eval(`[concat(nosuch(), toLower(), other(third()))]`, Policy)
	for _, want := range []string{"nosuch", "toLower", "other", "third"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %s", err, want)
		}
	}
}

func TestIsExpression(t *testing.T) {
	for text, want := range map[string]bool{"[a]": true, "[[a]": false, "[a": false, "a]": false, "[]": true, "": false, "[": false} {
		if IsExpression(text) != want {
			t.Errorf("IsExpression(%q) = %v", text, !want)
		}
	}
	if got := Unescape("[[x"); got != "[x" {
		t.Errorf("Unescape = %q", got)
	}
}

func TestFormatTime(t *testing.T) {
	at := time.Date(2009, 6, 15, 13, 45, 30, 617_500_000, time.FixedZone("", -7*3600))
	// the sample instant and results of the .NET documentation, invariant culture
	for layout, want := range map[string]string{
		"d": "06/15/2009", "D": "Monday, 15 June 2009", "s": "2009-06-15T13:45:30", "u": "2009-06-15 20:45:30Z",
		"o": "2009-06-15T13:45:30.6175000-07:00", "r": "Mon, 15 Jun 2009 20:45:30 GMT", "y": "2009 June",
		"hh:mm:ss tt": "01:45:30 PM", "ff": "61", "FFFF": "6175", "%h": "1", "zzz": "-07:00", "yy": "09", "ddd MMM": "Mon Jun",
		`\d 'day' d`: "d day 15",
	} {
		if got, err := FormatTime(at, layout); err != nil || got != want {
			t.Errorf("FormatTime(%q) = %q, %v; want %q", layout, got, err, want)
		}
	}
}

func TestTableIsConsistent(t *testing.T) {
	for _, f := range Functions() {
		ways := 0
		for _, is := range []bool{f.call != nil, f.lazy != notLazy, f.host} {
			if is {
				ways++
			}
		}
		if ways != 1 || f.In == 0 || f.Max >= 0 && f.Max < f.Min {
			t.Errorf("row %s is inconsistent", f.Name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`[concat('a', parameters('b').c[0])]`, `[-1.5]`, `[if(true(),'x',)]`, `[map(createArray(1),lambda('x',lambdaVariables('x')))]`,
		`[format('{0:X}{1,9999}', -1, union(createArray(), range(0,3)))]`, `[substring('äöü😀', 1, 2)]`, `[dateTimeAdd('2020-01-01T00:00:00Z','P1Y2M','o')]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range []Dialect{Policy, Deployment, DSC} {
			if v, err := eval(text, d); err == nil {
				v.JSON()
			} else if err.Error() == "" {
				t.Error("an error without text")
			}
		}
	})
}
