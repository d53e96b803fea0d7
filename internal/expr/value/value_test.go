package value

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct{ text, want string }{
		{` {"a" : [1, -2.5, 1e2, true, null, "x\u00e9\n\ud83d\ude00"]} `, `{"a":[1,-2.5,100,true,null,"xé\n😀"]}`},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{`9223372036854775807`, `9223372036854775807`},
		{`-9223372036854775808`, `-9223372036854775808`},
		{`12345678901234567890`, `12345678901234567000`},
		{`1.0`, `1`},
		{`"\ud800x"`, `"` + "\ufffd" + `x"`},
		{"\ufeff{}", `{}`},
	}
	for _, tt := range tests {
		v, err := Parse(tt.text)
		if err != nil || v.JSON() != tt.want {
			t.Errorf("Parse(%s) = %s, %v; want %s", tt.text, v.JSON(), err, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		text         string
		line, column int
		reason       string
	}{
		{``, 1, 1, "ends where a value"},
		{"{\n  \"a\": 01}", 2, 8, "malformed number"},
		{`{"a" 1}`, 1, 6, "colon"},
		{`[1 2]`, 1, 4, "comma or ]"},
		{`{"a":1,}`, 1, 8, "key in double quotes"},
		{`"abc`, 1, 1, "never ends"},
		{`"a` + "\x01" + `"`, 1, 3, "control character"},
		{`"\x"`, 1, 2, "unknown escape"},
		{`nul`, 1, 1, "unknown word"},
		{`{} x`, 1, 4, "after the end"},
		{"\"\xff\"", 1, 1, "UTF-8"},
		{strings.Repeat("[", 600), 1, 513, "nest deeper"},
	}
	for _, tt := range tests {
		_, err := Parse(tt.text)
		var e *SyntaxError
		if !errors.As(err, &e) || e.Line != tt.line || e.Column != tt.column || !strings.Contains(e.Reason, tt.reason) {
			t.Errorf("Parse(%.20q): %v, want %d:%d %s", tt.text, err, tt.line, tt.column, tt.reason)
		}
	}
}

func TestFindIgnoresASCIICase(t *testing.T) {
	v, err := ParseResource(`{"Properties":{"storageProfile":1},"STORAGEPROFILENAME2":2}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Find(NewKey("properties")).Find(NewKey("STORAGEprofile")); got.Int64() != 1 {
		t.Errorf("got %s", got.JSON())
	}
	if got := v.Get("storageProfileName2"); got.Int64() != 2 {
		t.Errorf("Get on a resource does not fold: %s", got.JSON())
	}
	plain, _ := Parse(`{"A":1}`)
	if got := plain.Get("a"); !got.IsUndefined() {
		t.Errorf("Get on plain JSON folds: %s", got.JSON())
	}
}

func TestLargeObjectsKeepTheLastOfEqualKeys(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{`)
	for i := range 100 {
		b.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
	}
	b.WriteString(`"k":2,"kxx":3}`)
	v, err := Parse(b.String())
	if err != nil || v.Len() != 100 || v.Get("k").Int64() != 2 || v.Get("kxx").Int64() != 3 {
		t.Errorf("%d members, k=%s, %v", v.Len(), v.Get("k").JSON(), err)
	}
}

func TestFolding(t *testing.T) {
	for _, pair := range [][2]string{{"straße", "STRASSE"}, {"ΣΑΣ", "σας"}, {"ﬁx", "FIX"}, {"\u212A", "k"}, {"Ärger", "äRGER"}} {
		if !EqualFold(pair[0], pair[1]) || !EqualFold(pair[1], pair[0]) {
			t.Errorf("%q and %q are different", pair[0], pair[1])
		}
	}
	if EqualFold("abc", "abcd") || EqualFold("ä", "a") || !HasPrefixFold("STRASSEN", "straße") || !ContainsFold("xSTRASSEx", "ß") {
		t.Error("folding is wrong")
	}
}

func TestLike(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"abc*", "ABCdef", true}, {"abc*", "ab", false}, {"*def", "abcDEF", true}, {"a*b*c", "aXXbYYc", true}, {"a*b*c", "aXXcYY", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"a?c", "aäc", true}, {"*", "", true}, {"", "", true}, {"straße*", "STRASSEN", true}, {"", "a", false},
	}
	for _, tt := range tests {
		if got := NewLike(tt.pattern).Match(tt.s); got != tt.want {
			t.Errorf("%q like %q = %v", tt.s, tt.pattern, got)
		}
	}
	if !MatchPattern("##-??.x", "12-aBäx") || MatchPattern("##", "1") || MatchPattern("#", "٣") || MatchPattern("a", "A") {
		t.Error("match is wrong")
	}
}

func TestLikeIsNotExponential(t *testing.T) {
	p := NewLike(strings.Repeat("a*", 50) + "b")
	if p.Match(strings.Repeat("a", 5000)) {
		t.Error("matched")
	}
}

// FuzzParse holds the parser to encoding/json: the same texts are accepted, and
// they mean the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"x\u00e9"],"a":null}`, `"\ud83d\ude00"`, `[[[]]]`, `-0`, `1e400`, "\"\t\"", `{"a":{"b":{}}} `} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		var want any
		wantErr := json.Unmarshal([]byte(text), &want)
		if err != nil {
			if wantErr == nil && !strings.Contains(err.Error(), "UTF-8") && !strings.Contains(err.Error(), "nest deeper") {
				t.Fatalf("refused %q: %v", text, err)
			}
			return
		}
		if wantErr != nil && !strings.HasPrefix(text, "\ufeff") {
			t.Fatalf("accepted %q: %v", text, wantErr)
		}
		if wantErr != nil {
			return
		}
		back, err := Parse(v.JSON())
		if err != nil || !Same(v, back) {
			t.Fatalf("%q prints as %q: %v", text, v.JSON(), err)
		}
		if !sameAsAny(v, want) {
			t.Fatalf("%q = %s, encoding/json says %v", text, v.JSON(), want)
		}
	})
}

func sameAsAny(v Value, want any) bool {
	switch want := want.(type) {
	case nil:
		return v.Kind() == Null
	case bool:
		return v.Kind() == Bool && v.IsTrue() == want
	case float64:
		return v.IsNumber() && math.Abs(v.Float64()-want) <= math.Abs(want)*1e-15
	case string:
		return v.Kind() == String && v.Str() == want
	case []any:
		for i := range want {
			if !sameAsAny(v.At(i), want[i]) {
				return false
			}
		}
		return v.Kind() == Array && v.Len() == len(want)
	case map[string]any:
		for k, e := range want {
			if !sameAsAny(v.Get(k), e) {
				return false
			}
		}
		return v.Kind() == Object && v.Len() == len(want)
	}
	return false
}

func BenchmarkParse(b *testing.B) {
	text := `{"type":"Microsoft.Compute/virtualMachines","tags":{"env":"prod"},"properties":{"disks":[` +
		strings.TrimSuffix(strings.Repeat(`{"lun":1,"name":"data disk","caching":"ReadOnly","managedDisk":{"storageAccountType":"Premium_LRS"}},`, 30), ",") + `]}}`
	p := Parser{Folded: true}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if _, err := p.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
