package provider

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/store"
)

func TestPageIsJSON(t *testing.T) {
	one, two := json.RawMessage(`{"a":"<&>"}`), json.RawMessage("{ \"b\": 1 }\n")
	for want, got := range map[string]func() ([]byte, error){
		`{"value":[]}`:                                 func() ([]byte, error) { return page(nil, "") },
		`{"value":[null],"nextLink":"a\"b"}`:           func() ([]byte, error) { return page([]json.RawMessage{nil}, `a"b`) },
		"{\"value\":[{\"a\":\"<&>\"},{ \"b\": 1 }\n]}": func() ([]byte, error) { return page([]json.RawMessage{one, two}, "") },
	} {
		body, err := got()
		if err != nil || string(body) != want || !json.Valid(body) {
			t.Errorf("%s, %v; want %s", body, err, want)
		}
	}
}

func TestSystemDataIsWhatMarshalWouldWrite(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60_000_000, time.UTC)
	for _, d := range []*store.Document{{}, {CreatedBy: `"<ü>`, CreatedAt: at, UpdatedBy: "bob", UpdatedAt: at.Add(time.Microsecond)}} {
		want, err := json.Marshal(map[string]any{"a": 1, "systemData": map[string]any{"createdBy": d.CreatedBy, "createdByType": "Application", "createdAt": d.CreatedAt,
			"lastModifiedBy": d.UpdatedBy, "lastModifiedByType": "Application", "lastModifiedAt": d.UpdatedAt}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := withSystemData(json.RawMessage(`{"a":1}`), d)
		if err != nil || !sameJSON(t, got, want) {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}
