package packed

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// What encoding/binary has written is read as encoding/binary reads it.
func TestNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 1000 {
		want := r.Uint64() >> (i % 64)
		signed := int64(want) - int64(r.Uint64()>>1) //nolint:gosec // any number does
		b := binary.AppendVarint(binary.AppendUvarint(nil, want), signed)
		in := Reader{Data: string(b)}
		if got, got2 := in.Number(), in.Signed(); got != want || got2 != signed || !in.Done() {
			t.Fatalf("%d and %d, not %d and %d", got, got2, want, signed)
		}
	}
}

func TestTexts(t *testing.T) {
	in := Reader{Data: string(AppendText(AppendText(nil, "one"), ""))}
	if a, b := in.String(), in.String(); a != "one" || b != "" || !in.Done() {
		t.Errorf("%q %q %+v", a, b, in)
	}
	for a, b := range map[string]string{"abc": "abd", "ab": "ab", "abcd": "ab", "ab/": "ab?"} {
		if n := Shared(a, b); n != 2 {
			t.Errorf("%q and %q share %d", a, b, n)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	long := string(binary.AppendUvarint(nil, math.MaxUint64))
	for name, bad := range map[string]func(r *Reader){
		"nothing":        func(r *Reader) { r.Data = ""; r.Number() },
		"a number cut":   func(r *Reader) { r.Data = "\x80\x80"; r.Number() },
		"eleven bytes":   func(r *Reader) { r.Data = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"; r.Number() },
		"too large":      func(r *Reader) { r.Data = long; r.Int() },
		"too many":       func(r *Reader) { r.Data = "\x03ab"; r.Count() },
		"a text cut":     func(r *Reader) { r.Data = "\x03ab"; _ = r.String() },
		"a negative one": func(r *Reader) { r.Data = "ab"; r.Text(-1) },
		"after that":     func(r *Reader) { r.Data, r.Bad = "ab", true; r.Text(1) },
	} {
		var r Reader
		if bad(&r); !r.Bad || r.Done() {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
