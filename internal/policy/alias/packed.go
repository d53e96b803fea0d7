package alias

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"

	"hallmark.dev/hallmark/internal/expr/value"
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

// packed is a decoded table: the entries stay front-coded, only the places to
// start at are indexed.
type packed struct {
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
		b = appendText(b, t)
	}
	b = binary.AppendUvarint(b, uint64(len(sorted)))
	previous := ""
	for i, a := range sorted {
		shared := 0
		if i%restart != 0 {
			shared = sharedPrefix(previous, a.Name)
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = appendText(b, a.Name[shared:])
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

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// sharedPrefix counts equal bytes: names differ in case between entries.
func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
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
	p := &packed{data: string(data)}
	d := decoder{data: p.data}
	for range d.number() {
		p.types = append(p.types, d.text(d.number()))
		if d.bad {
			return nil, errPacked
		}
	}
	p.count = d.number()
	for i := 0; i < p.count && !d.bad; i++ {
		if i%restart == 0 {
			p.starts = append(p.starts, d.at)
		}
		d.skip()
	}
	if d.bad || d.at != len(p.data) {
		return nil, errPacked
	}
	return &Table{packed: p}, nil
}

// decoder reads entries one after another.
type decoder struct {
	data string
	at   int
	bad  bool
	name string
	typ  int
	path string // "" for the usual one
}

func (d *decoder) number() int {
	n, shift := 0, 0
	for d.at < len(d.data) && shift < 35 {
		c := d.data[d.at]
		d.at++
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
		shift += 7
	}
	d.bad = true
	return 0
}

func (d *decoder) text(n int) string {
	if n < 0 || n > len(d.data)-d.at {
		d.bad = true
		return ""
	}
	d.at += n
	return d.data[d.at-n : d.at]
}

func (d *decoder) next() {
	shared := d.number()
	rest := d.text(d.number())
	if shared > len(d.name) {
		d.bad = true
		return
	}
	d.name = d.name[:shared] + rest
	d.typ = d.number()
	d.path = ""
	if n := d.number(); n > 0 {
		d.path = d.text(n - 1)
	}
}

// skip is next without building the name.
func (d *decoder) skip() {
	d.number()
	d.text(d.number())
	d.number()
	if n := d.number(); n > 0 {
		d.text(n - 1)
	}
}

func (p *packed) len() int {
	if p == nil {
		return 0
	}
	return p.count
}

// firstName returns the name at a restart point, in lower case.
func (p *packed) firstName(i int) string {
	d := decoder{data: p.data, at: p.starts[i]}
	d.next()
	return value.LowerASCII(d.name)
}

// from calls f for the entries from the restart point before key on, until f
// returns false.
func (p *packed) from(key string, f func(lower string, d *decoder) bool) {
	if p == nil || p.count == 0 {
		return
	}
	block := sort.Search(len(p.starts), func(i int) bool { return p.firstName(i) >= key })
	block = max(block-1, 0)
	d := decoder{data: p.data, at: p.starts[block]}
	for i := block * restart; i < p.count; i++ {
		if i%restart == 0 {
			d.name = ""
		}
		if d.next(); !f(value.LowerASCII(d.name), &d) {
			return
		}
	}
}

func (p *packed) lookup(key string) []Alias {
	var found []Alias
	p.from(key, func(lower string, d *decoder) bool {
		if lower == key {
			found = append(found, p.alias(d))
		}
		return lower <= key
	})
	return found
}

func (p *packed) alias(d *decoder) Alias {
	a := Alias{Name: d.name, Type: p.types[d.typ], Path: d.path}
	if a.Path == "" {
		a.Path = "properties." + a.Short()
	}
	return a
}

func (p *packed) each(prefix string, f func(name string) bool) {
	p.from(prefix, func(lower string, d *decoder) bool {
		if strings.HasPrefix(lower, prefix) {
			return f(d.name)
		}
		return lower < prefix
	})
}
