package compliance

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/packed"
	"hallmark.dev/hallmark/internal/store"
)

// Types of the engine's own documents.
const (
	typeBlock      arm.Type = "Hallmark.Compliance/blocks"
	typeLedger     arm.Type = "Hallmark.Compliance/assignments"
	typeProgress   arm.Type = "Hallmark.Compliance/progress"
	typeTransition arm.Type = "Hallmark.Compliance/transitions"
	// typeFormer is that of a layout that had a document for each resource.
	typeFormer arm.Type = "Hallmark.Compliance/states"
)

// record is what is known of one resource. A resource that no policy looks at has none.
type record struct {
	ID       string
	Key      string // of the resource
	Type     arm.Type
	Location string
	Verdicts verdicts
	At       time.Time // evaluated, in milliseconds
}

// A block is the records of resources whose keys follow one another, the Private part
// of a document: a string, base64 of what encode makes. It starts where its name, the
// fence, says, and ends where the next starts.
//
// Why blocks: a fleet's machines mostly fare alike, and a new assignment adds to each of
// them. One document for each resource had to be written anew for each of them.
const (
	blockVersion = 2
	// blockRecords and blockBytes are about how large a block may be: one is written
	// anew for each change of a resource.
	blockRecords = 128
	blockBytes   = 48 << 10
	// firstFence is before the key of any resource.
	firstFence = "/-"
)

const blockPrefix = "/providers/Hallmark.Compliance/blocks"

func blockKey(fence string) string { return strings.ToLower(blockPrefix) + fence }

// fenceOf is the fence in a block's id or key.
func fenceOf(id string) string { return id[len(blockPrefix):] }

// encode writes records, which are in the order of their keys.
func encode(records []record) []byte {
	var types, locations, shared table
	oldest := int64(0)
	for i, r := range records {
		types.index(string(r.Type))
		locations.index(r.Location)
		shared.index(string(r.Verdicts))
		if at := r.At.UnixMilli(); i == 0 || at < oldest {
			oldest = at
		}
	}
	b := []byte{blockVersion}
	for _, t := range []*table{&types, &locations, &shared} {
		b = t.append(b)
	}
	b = binary.AppendVarint(b, oldest)
	b = binary.AppendUvarint(b, uint64(len(records)))
	last := ""
	for _, r := range records {
		common := packed.Shared(last, r.ID)
		b = binary.AppendUvarint(b, uint64(common)) //nolint:gosec // a length
		b = packed.AppendText(b, r.ID[common:])
		b = binary.AppendUvarint(b, types.index(string(r.Type)))
		b = binary.AppendUvarint(b, locations.index(r.Location))
		b = binary.AppendUvarint(b, shared.index(string(r.Verdicts)))
		b = binary.AppendUvarint(b, uint64(r.At.UnixMilli()-oldest)) //nolint:gosec // not before the oldest
		last = r.ID
	}
	return b
}

// table is texts that are written once and then named by their index.
type table struct {
	all []string
	at  map[string]uint64
}

func (t *table) index(s string) uint64 {
	if i, ok := t.at[s]; ok {
		return i
	}
	if t.at == nil {
		t.at = map[string]uint64{}
	}
	i := uint64(len(t.all))
	t.at[s] = i
	t.all = append(t.all, s)
	return i
}

func (t *table) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.all)))
	for _, s := range t.all {
		b = packed.AppendText(b, s)
	}
	return b
}

var errBlock = errors.New("the block is damaged")

// decode is the opposite of encode.
func decode(text string) ([]record, error) {
	if text == "" || text[0] != blockVersion {
		return nil, errBlock
	}
	c := cursor{packed.Reader{Data: text, At: 1}}
	types, locations, shared := c.table(), c.table(), c.table()
	for _, v := range shared {
		if !verdicts(v).whole() {
			return nil, errBlock
		}
	}
	oldest, n := c.Signed(), c.Count()
	records := make([]record, 0, n)
	last := ""
	for range n {
		common := min(c.Int(), len(last))
		id := last[:common] + c.String()
		typ, location, v := c.one(types), c.one(locations), c.one(shared)
		at := time.UnixMilli(oldest + int64(c.Number())).UTC() //nolint:gosec // a time, whatever it is
		records = append(records, record{ID: id, Key: strings.ToLower(id), Type: arm.Type(typ), Location: location, Verdicts: verdicts(v), At: at})
		last = id
	}
	if !c.Done() || !slices.IsSortedFunc(records, func(a, b record) int { return strings.Compare(a.Key, b.Key) }) {
		return nil, errBlock
	}
	return records, nil
}

// cursor reads the tables, too.
type cursor struct{ packed.Reader }

func (c *cursor) table() []string {
	all := make([]string, 0, c.Count())
	for range cap(all) {
		all = append(all, c.String())
	}
	return all
}

func (c *cursor) one(of []string) string {
	i := c.Int()
	if c.Bad || i >= len(of) {
		c.Bad = true
		return ""
	}
	return of[i]
}

// readBlock is the records of a block's document.
func readBlock(d *store.Document) ([]record, error) {
	var raw []byte
	err := json.Unmarshal(d.Private, &raw)
	var records []record
	if err == nil {
		records, err = decode(string(raw))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the compliance of resources from %s on: %w", fenceOf(d.Key), err)
	}
	return records, nil
}

func blockDocument(fence string, text []byte, at time.Time) *store.Document {
	private := make([]byte, 0, base64.StdEncoding.EncodedLen(len(text))+2)
	private = append(private, '"')
	private = append(base64.StdEncoding.AppendEncode(private, text), '"')
	return &store.Document{ID: blockPrefix + fence, Type: typeBlock, Body: json.RawMessage("{}"), Private: private, CreatedAt: at, UpdatedAt: at}
}
