package policy

import (
	"fmt"
	"testing"
)

func TestSetYieldsInOrder(t *testing.T) {
	var programs []*Program
	for _, rule := range []string{`{"field":"type","equals":"A/b"}`, `{"field":"x","equals":1}`, `{"field":"type","in":["A/c","a/B"]}`, `{"field":"type","equals":"A/c"}`, `{"allOf":[]}`} {
		def, err := ParseRule(`{"if":` + rule + `,"then":{"effect":"audit"}}`)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(def, Options{})
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, p)
	}
	s := NewSet(programs)
	for typ, want := range map[string]string{"a/b": "[0 1 2 4]", "A/C": "[1 2 3 4]", "other/type": "[1 4]"} {
		r, err := ParseResource(`{"type":"`+typ+`"}`, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		s.For(r, func(i int, _ *Program) bool { got = append(got, i); return true })
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", typ, got, want)
		}
	}
}
