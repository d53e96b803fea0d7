package compliance

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// Types of the engine's own documents.
const (
	typeRecord     arm.Type = "Hallmark.Compliance/states"
	typeProgress   arm.Type = "Hallmark.Compliance/progress"
	typeTransition arm.Type = "Hallmark.Compliance/transitions"
)

// recordPrefix is before the resource's own id: records are no children of their
// resources (a group is empty when its resources are gone), but sort like them.
const recordPrefix = "/providers/Hallmark.Compliance/states"

func recordKey(resource string) string { return strings.ToLower(recordPrefix + resource) }

// record is what is known of one resource, the Private part of its document. A
// resource that no policy looks at has none.
type record struct {
	ID       string    `json:"r"`
	Type     arm.Type  `json:"t"`
	Location string    `json:"l,omitempty"`
	Parts    []part    `json:"a"`
	At       time.Time `json:"at"` // evaluated
}

// part is the verdicts of one assignment: the indices of its units, by state.
type part struct {
	Key        string           `json:"k"` // assignment.Assignment.Key
	Generation string           `json:"g"`
	States     map[State]ranges `json:"s"`
}

// ranges is a set of small numbers, "0-3,7" in JSON.
type ranges []int

// MarshalText implements encoding.TextMarshaler.
func (r ranges) MarshalText() ([]byte, error) {
	var b []byte
	for i := 0; i < len(r); {
		j := i
		for j+1 < len(r) && r[j+1] == r[j]+1 {
			j++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(r[i]), 10)
		if j > i {
			b = append(append(b, '-'), strconv.Itoa(r[j])...)
		}
		i = j + 1
	}
	return b, nil
}

// maxUnits bounds what a damaged record can ask for: Azure's limit on the policies of
// an initiative.
const maxUnits = 1000

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *ranges) UnmarshalText(text []byte) error {
	*r = nil
	for one := range strings.SplitSeq(string(text), ",") {
		from, to, isRange := strings.Cut(one, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a < 0 || b < a || b >= maxUnits {
			return fmt.Errorf("%q is no set of policies", text)
		}
		for i := a; i <= b; i++ {
			*r = append(*r, i)
		}
	}
	return nil
}

// stateOf is the state of a unit in a part, "" if there is none.
func (p part) stateOf(i int) State {
	for s, r := range p.States {
		if _, ok := slices.BinarySearch(r, i); ok {
			return s
		}
	}
	return ""
}

func readRecord(d *store.Document) (*record, error) {
	var r record
	if err := json.Unmarshal(d.Private, &r); err != nil {
		return nil, fmt.Errorf("reading the compliance of %s: %w", strings.TrimPrefix(d.ID, recordPrefix), err)
	}
	return &r, nil
}

// same reports whether two records say the same, the time aside.
func (r *record) same(o *record) bool {
	return o != nil && r.Location == o.Location && slices.EqualFunc(r.Parts, o.Parts, func(a, b part) bool {
		return a.Key == b.Key && a.Generation == b.Generation && maps.EqualFunc(a.States, b.States, slices.Equal[ranges])
	})
}

func (r *record) put(tx store.Tx) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the compliance of %s: %w", r.ID, err)
	}
	return tx.Put(&store.Document{ID: recordPrefix + r.ID, Type: typeRecord, Location: r.Location, Body: json.RawMessage("{}"), Private: raw,
		CreatedAt: r.At, UpdatedAt: r.At}, store.Any)
}
