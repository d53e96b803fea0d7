package alias

import (
	_ "embed"
	"sync"
)

//go:generate go run ./pack -in aliases.tsv -out aliases.bin

//go:embed aliases.bin
var packedDefault []byte

// Default returns the table of Azure's public aliases. It has no paths by
// api-version, and leaves modifiability Unchecked.
var Default = sync.OnceValue(func() *Table {
	t, err := Unpack(packedDefault)
	if err != nil { // a damaged build: every alias is unknown, which users see at once
		return New()
	}
	return t
})
