package alias

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/packed"
)

// The packed form, zstd-compressed, all numbers as unsigned varints:
//
//	count of types, each: length, bytes
//	count of entries
//	entries sorted by lower-case name, each:
//	  bytes shared with the previous name (ignoring case), length of the rest, rest
//	  index of the type
//	  length of the path plus 1, path; 0: the path is "properties." + short name
//
// Every restart-th entry shares nothing, so that a search can start there.
const restart = 16

// table is a decoded table: the entries stay front-coded, only the places to
// start at are indexed.
type table struct {
	types  []string
	data   string
	starts []int
	count  int
}

// Pack encodes aliases; it keeps type, name and default path only.
func Pack(aliases []Alias) ([]byte, error) {
	sorted := slices.Clone(aliases)
	slices.SortStableFunc(sorted, func(a, b Alias) int {
		return strings.Compare(value.LowerASCII(a.Name), value.LowerASCII(b.Name))
	})
	types, index := typeIndex(sorted)
	var b []byte
	b = binary.AppendUvarint(b, uint64(len(types)))
	for _, t := range types {
		b = packed.AppendText(b, t)
	}
	b = binary.AppendUvarint(b, uint64(len(sorted)))
	previous := ""
	for i, a := range sorted {
		shared := 0
		if i%restart != 0 {
			shared = packed.Shared(previous, a.Name)
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = packed.AppendText(b, a.Name[shared:])
		b = binary.AppendUvarint(b, uint64(index[a.Type]))
		if value.EqualASCII(a.Path, "properties."+a.Short()) {
			b = binary.AppendUvarint(b, 0)
		} else {
			b = binary.AppendUvarint(b, uint64(len(a.Path)+1))
			b = append(b, a.Path...)
		}
		previous = a.Name
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(b, nil), nil
}

func typeIndex(aliases []Alias) (types []string, index map[string]int) {
	index = map[string]int{}
	for _, a := range aliases {
		if _, have := index[a.Type]; !have {
			index[a.Type] = len(types)
			types = append(types, a.Type)
		}
	}
	return types, index
}

var errPacked = errors.New("alias: the packed table is damaged")

// Unpack decodes what Pack encoded.
func Unpack(compressed []byte) (*Table, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := r.DecodeAll(compressed, nil)
	if err != nil {
		return nil, err
	}
	p := &table{data: string(data)}
	d := p.at(0)
	for range d.Int() {
		p.types = append(p.types, d.String())
		if d.Bad {
			return nil, errPacked
		}
	}
	p.count = d.Int()
	for i := 0; i < p.count && !d.Bad; i++ {
		if i%restart == 0 {
			p.starts = append(p.starts, d.At)
		}
		d.skip()
	}
	if !d.Done() {
		return nil, errPacked
	}
	return &Table{packed: p}, nil
}

// decoder reads entries one after another. Names differ in case between entries.
type decoder struct {
	packed.Reader
	name string
	typ  int
	path string // "" for the usual one
}

func (d *decoder) next() {
	shared := d.Int()
	rest := d.String()
	if shared > len(d.name) {
		d.Bad = true
		return
	}
	d.name = d.name[:shared] + rest
	d.typ = d.Int()
	d.path = ""
	if n := d.Int(); n > 0 {
		d.path = d.Text(n - 1)
	}
}

// skip is next without building the name.
func (d *decoder) skip() {
	d.Int()
	_ = d.String()
	d.Int()
	if n := d.Int(); n > 0 {
		d.Text(n - 1)
	}
}

func (p *table) at(place int) decoder {
	return decoder{Reader: packed.Reader{Data: p.data, At: place}}
}

func (p *table) len() int {
	if p == nil {
		return 0
	}
	return p.count
}

// firstName returns the name at a restart point, in lower case.
func (p *table) firstName(i int) string {
	d := p.at(p.starts[i])
	d.next()
	return value.LowerASCII(d.name)
}

// from calls f for the entries from the restart point before key on, until f
// returns false.
func (p *table) from(key string, f func(lower string, d *decoder) bool) {
	if p == nil || p.count == 0 {
		return
	}
	block := sort.Search(len(p.starts), func(i int) bool { return p.firstName(i) >= key })
	block = max(block-1, 0)
	d := p.at(p.starts[block])
	for i := block * restart; i < p.count; i++ {
		if i%restart == 0 {
			d.name = ""
		}
		if d.next(); !f(value.LowerASCII(d.name), &d) {
			return
		}
	}
}

func (p *table) lookup(key string) []Alias {
	var found []Alias
	p.from(key, func(lower string, d *decoder) bool {
		if lower == key {
			found = append(found, p.alias(d))
		}
		return lower <= key
	})
	return found
}

func (p *table) alias(d *decoder) Alias {
	a := Alias{Name: d.name, Type: p.types[d.typ], Path: d.path}
	if a.Path == "" {
		a.Path = "properties." + a.Short()
	}
	return a
}

func (p *table) each(prefix string, f func(name string) bool) {
	p.from(prefix, func(lower string, d *decoder) bool {
		if strings.HasPrefix(lower, prefix) {
			return f(d.name)
		}
		return lower < prefix
	})
}
